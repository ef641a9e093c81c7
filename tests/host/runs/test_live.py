"""`inv status` and `inv logs`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from sftplay.files import write_json
from sftplay.host.runs import live, table
from sftplay.locks import hold
from tests.host.runfolders import write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("done")
    live.status()
    assert "nothing runs" in capsys.readouterr().err


def test_a_training_is_shown_with_its_step_and_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = write_run("busy", finished=False)
    progress = json.loads(run.attempts()[0].progress.read_text())
    write_json(run.attempts()[0].progress, {**progress, "time": time.time()})
    with hold(run.run_lock, who="a trainer"):
        live.status()
    line = next(line for line in capsys.readouterr().out.splitlines() if "busy" in line)
    assert line.split()[:6] == ["busy", "train", "bnb", "10/20", "1.500", "80"]
    assert line.split()[6:8] == ["20", "s"]


def test_a_training_that_stands_still_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("stuck", finished=False)
    with hold(run.run_lock, who="a trainer"):
        live.status()
    assert "no step for" in capsys.readouterr().out


def test_job_and_node_of_a_cluster_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("far", finished=False)
    start = {
        **{"number": 1, "nonce": "n", "argv": ["train"], "stack": "cpu", "runner": "local"},
        **{"environment_hash": "", "created": "", "job": "ray batch-grid", "node": "n2 GPU 1"},
    }
    write_json(run.launch / "start-001.json", start)
    with hold(run.run_lock, who="a trainer"):
        live.status()
    table.show()
    assert capsys.readouterr().out.count("ray batch-grid on n2 GPU 1") == 2


def test_data_stages_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        hold(Path("data/processed/.lock"), who="process"),
        hold(Path("outputs/a/eval/.lock"), who="an evaluation"),
    ):
        live.status()
    out = capsys.readouterr().out
    assert "data/processed" in out
    assert "outputs/a/eval" in out


def test_time_left() -> None:
    progress = {"step": 10, "steps": 110, "seconds_per_step": 2.0, "time": 1000.0}
    assert live.time_left(progress, 1000.0) == "3 min"
    assert live.time_left(progress, 1e9) == "0 s"
    assert live.time_left(progress, -1e9) == "3 min"  # the clock was set back
    assert live.time_left({"step": 1}, 0) == ""


def test_ranks_are_counted_and_the_slowest_is_named() -> None:
    assert live.ranks_of({}) == live.ranks_of({"rank_seconds": [1.0]}) == ""
    assert live.ranks_of({"rank_seconds": [1.0, 1.02]}) == "2 ranks"
    assert live.ranks_of({"rank_seconds": [1.0, 1.0, 1.5]}) == "3 ranks, rank 2 50% slower"
    assert live.ranks_of({"rank_seconds": ["x", None]}) == "2 ranks"
