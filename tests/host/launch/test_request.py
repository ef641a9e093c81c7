"""Requests that are refused before anything is written, and where a stage runs, printed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.call import StageCall
from sftplay.decision import Decision
from sftplay.host.launch.request import announce
from sftplay.stages import BY_NAME
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


def test_resume_without_a_run_leaves_nothing(project: Project) -> None:
    assert project.ends(project.start("--resume", mode="0")) == 66
    assert not project.run.exists()
