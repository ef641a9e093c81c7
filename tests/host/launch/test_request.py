"""Requests that are refused before anything is written, and where a stage runs, printed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.call import StageCall
from sftplay.decision import Decision
from sftplay.host.launch.request import announce
from sftplay.stages import BY_NAME
from tests.host.conftest import RunTask
from tests.host.runfolders import write_run
from tests.host.standin import Project


def test_where_a_stage_runs_is_printed_where_it_differs_from_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also of an earlier command in the same project."""
    monkeypatch.chdir(tmp_path)
    Path("outputs").mkdir()

    def printed(stage: str, runner: str, reason: str, stack: str) -> str:
        call = StageCall(BY_NAME[stage])
        announce(call, Decision(runner, reason), Decision(stack, "why"))
        return capsys.readouterr().err

    first = printed("process", "local", "no engine", "cpu")
    assert "process: local runner (no engine), cpu stack (why)" in first
    assert printed("render", "local", "no engine", "cpu") == ""
    assert "asked for" in printed("train", "local", "asked for", "cpu")
    assert "bnb stack" in printed("train", "local", "asked for", "bnb")
    assert printed("eval", "local", "asked for", "bnb") == ""
    (Path("outputs") / ".last-start.json").write_text("torn")
    assert "eval: local runner" in printed("eval", "local", "asked for", "bnb")
    assert printed("eval", "local", "asked for", "bnb") == ""


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["export", "--run", "nope"], 66, "there is no run nope (runs here: demo)"),
        (["eval", "--run", "nope", "--tasks", "exam.yaml"], 66, "there is no run nope"),
        (["push", "nope", "a/b"], 66, "there is no run nope"),
        (["eval", "--run", "demo", "--tasks", "exam.yaml"], 66, "no such task file"),
        (["fetch", "--tasks", "wrong.yaml"], 78, "num_fewshot"),
    ],
)
def test_what_is_not_there_is_seen_before_an_environment_is_made(
    argv: list[str],
    code: int,
    said: str,
    checkout: Path,
    run_task: RunTask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("SFTPLAY_ENVS", str(tmp_path / "envs"))
    write_run("demo")
    Path("wrong.yaml").write_text("task: wrong\nnum_fewshot: -2\n")
    end = run_task(*argv)
    assert (end.returncode, said in end.stderr) == (code, True), end.stderr
    assert not list((tmp_path / "envs").glob("*"))


def test_resume_without_a_run_leaves_nothing(project: Project) -> None:
    assert project.ends(project.start("--resume", mode="0")) == 66
    assert not project.run.exists()
