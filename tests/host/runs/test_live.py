"""`inv status` and `inv logs`."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from sftplay.errors import NotFoundError
from sftplay.files import write_json
from sftplay.host.runs import live
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


def test_a_resumed_training_does_not_show_the_step_it_had_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = write_run("again", finished=False)
    run.record_event("resumed")
    with hold(run.run_lock, who="a trainer"):
        live.status()
    line = next(line for line in capsys.readouterr().out.splitlines() if "again" in line)
    assert "10/20" not in line
    assert "loss=1" in line  # the last thing in its log


def test_a_training_that_stands_still_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("stuck", finished=False)
    with hold(run.run_lock, who="a trainer"):
        live.status()
    assert "no step for" in capsys.readouterr().out


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
    assert live.time_left({"step": 1}, 0) == ""


def test_logs_are_printed_and_followed_to_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a", steps=60, finished=False)
    log = run.attempts()[0].log
    assert live.logs("a") == 0
    assert capsys.readouterr().out == log.read_text()

    with hold(run.run_lock, who="a trainer"):
        follower = threading.Thread(target=live.logs, args=("a",), kwargs={"follow": True})
        follower.start()
        time.sleep(0.5)
        with open(log, "a") as out:
            out.write("one more ")
            out.flush()
            time.sleep(0.5)
            out.write("line\n")
            out.flush()
        time.sleep(0.5)
    follower.join(timeout=10)
    assert not follower.is_alive()
    out = capsys.readouterr().out
    assert out.count("\n") == live._LATEST + 1
    assert out.endswith("one more line\n")


def test_a_progress_bar_is_shown_in_its_last_state(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a", finished=False)
    run.attempts()[0].log.unlink()
    run.launch.mkdir()
    write_json(
        run.launch / "start-001.json",
        {"number": 1, "nonce": "n", "argv": ["train"], "stack": "cpu", "runner": "local", "environment_hash": "", "created": ""},
    )  # fmt: skip
    (run.launch / "output-001.log").write_bytes(b"begin\r\nstep 1\rstep 2\rstep 3\ndone\n")
    live.logs("a")
    assert capsys.readouterr().out == "begin\nstep 3\ndone\n"
    assert live.last_line(run.launch / "output-001.log") == "done"


def test_colours_meant_for_another_terminal_are_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = write_run("a", finished=False)
    log = run.attempts()[0].log
    log.write_bytes(
        b"\x1b[34m\xc2\xb7 reading the model\x1b[0m\r\n\x1b[2K 10%|#\r\x1b[2K\x1b[32m\xc2\xb7 loading weights\x1b[0m\n"
    )
    run.attempts()[0].progress.unlink()
    with hold(run.run_lock, who="a trainer"):
        live.status()
    out = capsys.readouterr().out
    assert "\x1b" not in out and "10%" not in out
    assert out.splitlines()[2].endswith("  loading weights")
    live.logs("a")
    assert capsys.readouterr().out == "· reading the model\n· loading weights\n"


def test_a_run_without_a_log() -> None:
    Path("outputs/a").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="no log"):
        live.logs("a")
