"""A server on loopback that answers for one dataset as the hub does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(name: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the address of a hub that has this dataset."""

    class Hub(_Hub):
        dataset, content = name, files

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class _Hub(BaseHTTPRequestHandler):
    """The requests that huggingface_hub makes for a snapshot: repository, list of files, each file."""

    dataset = ""
    content: Mapping[str, bytes] = {}

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if "/gated" in path:
            self._refuse(403, "GatedRepo")
        elif path == f"/api/datasets/{self.dataset}/revision/main":
            self._json(
                {
                    "id": self.dataset,
                    "sha": COMMIT,
                    "siblings": [{"rfilename": name} for name in self.content],
                }
            )
        elif path.startswith(f"/api/datasets/{self.dataset}/revision/"):
            self._refuse(404, "RevisionNotFound")
        elif path.startswith(f"/api/datasets/{self.dataset}/tree/"):
            self._json(
                [
                    {"type": "file", "path": n, "size": len(c), "oid": _oid(c)}
                    for n, c in self.content.items()
                ]
            )
        elif path.startswith(f"/datasets/{self.dataset}/resolve/{COMMIT}/"):
            self._file(self.content[path.partition(f"{COMMIT}/")[2]])
        else:
            self._refuse(404, "RepoNotFound")

    do_HEAD = do_GET  # noqa: N815 - http.server looks it up by this name

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, content: bytes) -> None:
        self._send(200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT})

    def _refuse(self, code: int, error: str) -> None:
        self._send(code, b"{}", {"X-Error-Code": error, "X-Error-Message": error})

    def _send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _oid(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
