"""A run that has begun, trained once for the whole session."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.box import Box


@pytest.fixture(scope="session")
def begun(tokenized_project: Path, tmp_path_factory: pytest.TempPathFactory, box: Box) -> Path:
    """A run with checkpoints of the steps 2 and 4.

    Not to be changed: tests take `run`.
    """
    folder = tmp_path_factory.mktemp("begun") / "project"
    shutil.copytree(tokenized_project, folder)
    ran = box.run("train", "--config", "demo.yaml", "--set", "train.max_steps=4", cwd=folder)
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    """The folder of that run, in a copy of its project."""
    shutil.copytree(begun, tmp_path / "project")
    return tmp_path / "project" / "outputs" / "demo"
