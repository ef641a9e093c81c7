"""Commands that name no run, through the menu: the newest finished one is taken, and printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.locks import hold
from tests.host.conftest import RunTask, make_environment
from tests.host.runfolders import write_run

COMMANDS = (
    ["eval"],
    ["eval-test"],
    ["eval-quick"],
    ["eval-full"],
    ["infer", "--prompt", "Hello"],
    ["infer-batch", "--input", "tasks.py"],
    ["merge"],
)


@pytest.fixture
def started(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the command line of each stage that was started."""
    words = tmp_path / "started"
    make_environment(checkout / ".envs", f'echo "$@" >>"{words}"')
    monkeypatch.setenv("SFTPLAY_ENVS", str(checkout / ".envs"))
    monkeypatch.chdir(checkout)
    return words


@pytest.mark.parametrize("argv", COMMANDS)
def test_the_run_that_finished_last_is_taken(
    argv: list[str], started: Path, run_task: RunTask
) -> None:
    write_run("zuerst")
    write_run("last").record_event("finished")
    write_run("stopped", finished=False).record_event("interrupted")
    end = run_task(*argv, "--runner", "local")
    assert end.returncode == 0, end.stderr
    assert "run last (the newest finished one)" in end.stderr
    assert "--run last" in started.read_text().splitlines()[-1]
    assert "run_bnb" not in started.read_text()


def test_a_named_run_or_config_stays(started: Path, run_task: RunTask) -> None:
    write_run("first")
    write_run("run_bnb")
    write_run("last").record_event("finished")
    for argv in (["--run", "first"], ["--config", "configs/run_bnb.yaml"]):
        end = run_task("merge", "--runner", "local", *argv)
        assert end.returncode == 0, end.stderr
        assert "newest" not in end.stderr
        assert " ".join(argv) in started.read_text().splitlines()[-1]


def test_nothing_has_finished(started: Path, run_task: RunTask) -> None:
    end = run_task("eval", "--runner", "local")
    assert end.returncode == 66 and "no run has finished here yet" in end.stderr
    run = write_run("busy", finished=False)
    with hold(run.run_lock, who="a trainer"):
        end = run_task("eval", "--runner", "local")
    assert end.returncode == 66 and "busy is running" in end.stderr
    assert not started.exists()
    end = run_task("infer", "--base", "--prompt", "Hello", "--runner", "local")
    assert end.returncode == 0, end.stderr  # the base needs no run
    assert "--base" in started.read_text()


def test_a_report_of_the_newest(run_task: RunTask, started: Path) -> None:
    write_run("first")
    write_run("last").record_event("finished")
    end = run_task("report")
    assert end.returncode == 0 and "outputs/last/report.html" in end.stderr, end.stderr
