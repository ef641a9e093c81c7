"""A run for the tests of replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.runs import Run
from tests.host.runs.replayable import write_replayable


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with everything that it stands on."""
    monkeypatch.chdir(tmp_path)
    return write_replayable()
