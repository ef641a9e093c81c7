"""Fixtures for all tests: a process that runs stages without paying for imports each time, and a model for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import Box
from tests.tiny import make_tiny_model

# Started in the background or by nohup, Ctrl-C or SIGHUP is ignored, and children would ignore it too: a handler that does
# nothing keeps it so for pytest, and is gone in what it starts.
for _signum in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, lambda signum, frame: None)


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Runs `python -m sftplay …` in forks of a process that has imported torch, TRL and PEFT."""
    started = Box(tmp_path_factory.mktemp("box"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local model folder that every stage takes; torch is imported for it, once."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")
