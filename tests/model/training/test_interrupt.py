"""Signals and closed terminals while training."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.box import Box, wait_for


def test_a_closed_terminal_does_not_end_a_run(project: Path, box: Box) -> None:
    started = box.start("train", "--config", "demo.yaml", cwd=project)
    wait_for(project / "outputs/demo/attempts/01-bnb/progress.json")
    started.kill(signal.SIGHUP)
    assert started.wait().code == 0


def test_the_same_stop_from_two_senders_is_one_request(project: Path, box: Box) -> None:
    started = box.start(
        "train", "--config", "demo.yaml", "--set", "train.max_steps=500", cwd=project
    )
    wait_for(project / "outputs/demo/attempts/01-bnb/progress.json")
    started.kill(signal.SIGTERM)
    time.sleep(0.1)  # apart: two pending ones would be one
    started.kill(signal.SIGTERM)
    assert started.wait().code == 85
    assert list((project / "outputs/demo/attempts/01-bnb/checkpoints").glob("*/manifest.json"))
