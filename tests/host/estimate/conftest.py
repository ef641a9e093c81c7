"""A project for the tests of estimates."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.host.quickstart import sample_data
from tests.host.estimate.project import BLOCK, CONFIG, write_config, write_model


@pytest.fixture
def tiny_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config, a tiny model and the sample data in a new working directory."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("tiny-model").mkdir()
    write_model(Path("tiny-model"), BLOCK, CONFIG)
    write_config("model: {name: ./tiny-model}\ntrain: {device: cpu, max_steps: 10}\n")
    sample_data.write_if_empty()
