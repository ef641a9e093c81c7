"""How a stand-in hub answers: what its servers on loopback share."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any


class HubHandler(BaseHTTPRequestHandler):
    """The forms of an answer that huggingface_hub expects."""

    def send_json(self, value: Any) -> None:
        self.send_bytes(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, code: int, error: str) -> None:
        self.send_bytes(code, b"{}", {"X-Error-Code": error, "X-Error-Message": error})

    def send_bytes(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
