"""Curves: steps that were trained again, and torn lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.host.runs import curves
from tests.host.runfolders import write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_steps_that_were_trained_again_count_once_and_torn_lines_are_counted() -> None:
    run = write_run("a", finished=False)
    path = run.attempts()[0].steps
    steps = [(1, 3.0), (2, 2.5), (3, 2.0), (2, 2.4)]  # resumed from the checkpoint of step 1
    path.write_text(
        "".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in steps)
        + '{"step": 3, "lo'
    )
    (found,) = curves.read(run)
    assert found.of("loss") == [(1, 3.0), (2, 2.4)]
    assert found.unreadable == 1
