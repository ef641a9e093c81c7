"""A planted token, a hub that lets its asker wait, and tasks that have the token in their environment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from tests.host.conftest import NO_ENGINE

TOKEN = "hf_PlantedTokenThatNobodyMaySee"


class _SlowHub(BaseHTTPRequestHandler):
    """Notes who asks, and answers when the test is over."""

    asked: list[str]
    over: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        self.over.wait(60)
        self.send_error(503)

    do_HEAD = do_GET  # noqa: N815 - http.server looks it up by this name

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def slow_hub(address: str = "127.0.0.1") -> Iterator[tuple[str, list[str]]]:
    """A hub at an address of this machine; gives its URL, and who has asked."""
    asked: list[str] = []
    over = threading.Event()
    handler = type("Handler", (_SlowHub,), {"asked": asked, "over": over})
    server = ThreadingHTTPServer((address, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}", asked
    finally:
        over.set()
        server.shutdown()


class Launcher:
    """A task with the token in its environment, and temporary folders of its own."""

    def __init__(self, checkout: Path, *argv: str, **env: str) -> None:
        self.places = [checkout, checkout.parent / "tmp", checkout.parent / "runtime"]
        for place in self.places:
            place.mkdir(exist_ok=True)
        names = {"TMPDIR": self.places[1], "XDG_RUNTIME_DIR": self.places[2]}
        self.output = checkout / "screen.log"
        with open(self.output, "ab") as screen:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sftplay.host.cli", *argv],
                cwd=checkout,
                env={
                    **os.environ,
                    "PYTHONPATH": str(checkout),
                    "HF_TOKEN": TOKEN,
                    "DOCKER_HOST": NO_ENGINE,
                    **{name: str(path) for name, path in names.items()},
                    **env,
                },
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
            )

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def traces(self, *more: int) -> list[str]:
        """Where the token is: files, command lines of anybody, environments of the children."""
        found = [
            str(path)
            for place in self.places
            for path in place.rglob("*")
            if path.is_file() and TOKEN.encode() in path.read_bytes()
        ]
        pids = [*(child.pid for child in self.children()), *more] if self.alive else more
        found += [f"/proc/{pid}/environ" for pid in pids if _holds(Path(f"/proc/{pid}/environ"))]
        return found + [str(path) for path in Path("/proc").glob("[0-9]*/cmdline") if _holds(path)]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


def _holds(path: Path) -> bool:
    try:
        return TOKEN.encode() in path.read_bytes()
    except OSError:  # it has ended
        return False


def wait_until(condition: object, what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
