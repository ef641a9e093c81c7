"""Signals and closed terminals while training."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.box import Box, wait_for


def test_a_closed_terminal_does_not_end_a_run(project: Path, box: Box) -> None:
    started = box.start("train", "--config", "demo.yaml", cwd=project)
    wait_for(project / "outputs/demo/attempts/01-bnb/progress.json")
    started.kill(signal.SIGHUP)
    assert started.wait().code == 0
