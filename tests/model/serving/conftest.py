"""A served run, and clients for it."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.box import Box, Ran, Started

openai = pytest.importorskip("openai", reason="the client is in the dev lock only")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """A server in a project folder."""

    started: Started
    port: int
    project: Path

    def client(self, key: str = "none") -> Any:
        """OpenAI's own client."""
        url = f"http://127.0.0.1:{self.port}/v1"
        return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=120)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """One raw request: status, body (parsed where it is JSON), headers."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        link.request(method, path, body, named)
        answer = link.getresponse()
        text = answer.read()
        link.close()
        kind = answer.getheader("content-type") or ""
        return (
            answer.status,
            json.loads(text) if "json" in kind else text.decode(),
            {name.lower(): value for name, value in answer.getheaders()},
        )

    def post(self, body: bytes | dict[str, Any], **headers: str) -> tuple[int, Any, dict[str, str]]:
        """One raw chat request."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content_Type": "application/json", **headers}
        return self.ask("POST", "/v1/chat/completions", raw, **headers)

    @property
    def log(self) -> str:
        """What it has printed so far."""
        file = self.started.folder / "err"
        return file.read_text() if file.exists() else ""

    def wait_for_log(self, word: str, seconds: float = 60) -> str:
        """Wait until it has printed a word; returns everything."""
        end = time.monotonic() + seconds
        while word not in self.log:
            assert time.monotonic() < end, self.log
            time.sleep(0.05)
        return self.log

    def stop(self) -> Ran:
        """End it as a person does."""
        self.started.kill(signal.SIGTERM)
        return self.started.wait()


Serve = Callable[..., Served]


@pytest.fixture
def serve(box: Box) -> Iterator[Serve]:
    """Start servers; they are ended with the test."""
    yield from _serving(box)


@pytest.fixture(scope="module")
def served(
    trained_project: Path, tmp_path_factory: pytest.TempPathFactory, box: Box
) -> Iterator[Served]:
    """The trained project, served."""
    folder = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(trained_project, folder)
    serving = _serving(box)
    try:
        yield next(serving)(folder, "--run", "demo")
    finally:
        next(serving, None)


def _serving(box: Box) -> Iterator[Serve]:
    begun: list[Served] = []

    def start(project: Path, *words: str | Path, wait: bool = True) -> Served:
        port = free_port()
        started = box.start("serve", "--port", str(port), *words, cwd=project)
        one = Served(started, port, project)
        begun.append(one)
        end = time.monotonic() + 120
        while wait and "answers for the model" not in one.log:
            if started.has_ended(0.1) or time.monotonic() > end:
                raise AssertionError(one.log)
        return one

    yield start
    for one in begun:
        if Path(f"/proc/{one.started.pid}").exists():
            one.started.kill(signal.SIGKILL)
            one.started.wait()
