"""Requests that are refused before anything is written."""

from __future__ import annotations

from tests.host.standin import Project


def test_resume_without_a_run_leaves_nothing(project: Project) -> None:
    assert project.ends(project.start("--resume", mode="0")) == 66
    assert not project.run.exists()
