"""A planted token: where it can be found while tasks run, after them, and after one was killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.host.planted_token import TOKEN, Launcher, slow_hub, wait_until


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    with slow_hub() as found:
        yield found


@pytest.mark.usefixtures("environment")
def test_a_fetch_has_the_token_and_shows_it_nowhere(
    checkout: Path, hub: tuple[str, list[str]]
) -> None:
    endpoint, asked = hub
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
