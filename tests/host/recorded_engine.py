"""An engine that says what was recorded: the edge where the real one can't be had in every version
and every fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socketserver
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import yaml

RECORDED = Path(__file__).parent / "recorded"

# A container that starts and ends well, where no error was recorded for it.
_WELL: Mapping[str, Any] = {
    "GET /images/json": [],
    "GET /containers/json": [],
    "POST /containers/create": {"Id": "made", "Warnings": []},
    "POST /containers/made/start": None,
    "POST /containers/made/wait": {"StatusCode": 0},
    "DELETE /containers/made": None,
}


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    answers: dict[str, tuple[int, Any]]
    asked: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = re.sub(r"^/v[\d.]+", "", self.path).partition("?")[0]
        request = f"{self.command} {path}"
        self.server.asked.append(request)
        status, value = self.server.answers.get(
            request, (404, {"message": f"nothing was recorded for {request}"})
        )
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that the library looks for

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test says what it wants to know."""

    def address_string(self) -> str:
        return "here"


@contextlib.contextmanager
def recorded_engine(
    socket: Path,
    name: str = "docker-20.10.json",
    *,
    error: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Iterator[list[str]]:
    """Serve a recording on a unix socket. Yields the list of requests, which grows.

    Args:
        name: file in tests/host/recorded.
        error: case of engine_errors.yaml that replaces one answer.
        changes: more answers, or other ones, by request.
    """
    recording = {
        key: value
        for key, value in json.loads((RECORDED / name).read_text()).items()
        if key != "source"
    }
    answers = {
        key: (200, value) for key, value in {**_WELL, **recording, **(changes or {})}.items()
    }
    answers["POST /containers/made/start"] = answers["DELETE /containers/made"] = (204, None)
    if error:
        case = yaml.safe_load((RECORDED / "engine_errors.yaml").read_text())[error]
        answers[case["request"]] = (case["status"], {"message": case["message"]})
    server = _Server(str(socket), _Handler)
    server.answers, server.asked = answers, []
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    try:
        yield server.asked
    finally:
        server.shutdown()
        server.server_close()


def as_nobody(ask: Any, folder: Path) -> Any:
    """Call a function in a process of another user; return its result."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == 0 and each != Path("/") and each != Path("/tmp"):
            each.chmod(each.stat().st_mode | 0o055)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writer, json.dumps(ask()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        value = answer.read()
    os.waitpid(child, 0)
    return json.loads(value)
