"""A planted token: where it can be found while tasks run, after them, and after one was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

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


@pytest.fixture
def slow_hub() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    over = threading.Event()
    handler = type("Handler", (_SlowHub,), {"asked": asked, "over": over})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
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


@pytest.mark.usefixtures("environment")
def test_a_fetch_has_the_token_and_shows_it_nowhere(
    checkout: Path, slow_hub: tuple[str, list[str]]
) -> None:
    endpoint, asked = slow_hub
    words = ("fetch", "--runner", "local", "--set", "model.name=owner/model")
    cache = str(checkout.parent / "cache")
    fetch = Launcher(checkout, *words, HF_ENDPOINT=endpoint, NO_PROXY="*", SFTPLAY_CACHE=cache)
    wait_until(lambda: asked or not fetch.alive, "no request")
    assert asked[:1] == [f"Bearer {TOKEN}"], fetch.output.read_text()
    children = fetch.children()
    assert children
    assert fetch.traces() == []
    fetch.process.send_signal(signal.SIGKILL)
    fetch.process.wait()
    wait_until(
        lambda: not any(child.is_running() and child.status() != "zombie" for child in children),
        "the orphan goes on",
        20,
    )
    assert fetch.traces() == []
    assert "Traceback" not in fetch.output.read_text()


@pytest.mark.usefixtures("environment")
def test_a_killed_training_and_its_tensorboard_know_no_token(
    checkout: Path, tiny_model: Path
) -> None:
    rows = [{"user": f"What is {n}?", "assistant": f"It is {n}."} for n in range(40)]
    raw = checkout / "data/raw/rows.jsonl"
    raw.parent.mkdir(parents=True)
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [f"model.name={tiny_model}", "train.max_steps=400", "train.device=cpu"]
    words = ["train", "--run", "demo", "--runner", "local"]
    words += [word for value in sets for word in ("--set", value)]
    train = Launcher(checkout, *words)
    log = checkout / "outputs/demo/attempts/01-bnb/train.log"
    wait_until(lambda: log.is_file() or not train.alive, "no training")
    board = Launcher(checkout, "tensorboard", "--runner", "local", "--port", "16106")
    children = train.children()
    assert len(children) >= 2  # supervisor and stage
    try:
        assert train.traces() == []
        train.process.send_signal(signal.SIGKILL)
        train.process.wait()
        assert train.traces(*(child.pid for child in children)) == []
        assert board.process.wait(120) == 0, board.output.read_text()
        served = [
            p.pid for p in psutil.process_iter(["cmdline"]) if "16106" in (p.info["cmdline"] or [])
        ]
        assert served
        assert board.traces(*served) == []
    finally:
        for task in (("stop", "--all"), ("report", "--run", "demo")):
            Launcher(checkout, *task).process.wait(120)
    assert train.traces() == []
