"""Fixtures of the data stages' tests."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.data.project import Project

settings.register_profile("no deadline", deadline=None)  # machines in CI are slow and shared
settings.load_profile("no deadline")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project: a config with nothing but defaults, and an empty data/raw."""
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("backend: bnb\n")
    return Project(tmp_path)
