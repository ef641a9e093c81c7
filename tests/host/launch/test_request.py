"""Requests that are refused before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.standin import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    project.end()


def test_resume_without_a_run_leaves_nothing(project: Project) -> None:
    assert project.ends(project.start("--resume", mode="0")) == 66
    assert not project.run.exists()
