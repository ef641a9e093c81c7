"""Fixtures for all tests: a process that runs stages without paying for imports each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.box import Box


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Runs `python -m sftplay …` in forks of a process that has imported torch, TRL and PEFT."""
    started = Box(tmp_path_factory.mktemp("box"))
    yield started
    started.close()
