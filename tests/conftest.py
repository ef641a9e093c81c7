"""Fixtures for all tests: a process that runs stages without paying for imports each time, and a
model for them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box import Box
from tests.tiny import make_tiny_model

# Started in the background or by nohup, Ctrl-C or SIGHUP is ignored, and children would ignore it
# too: a handler that does nothing keeps it so for pytest, and is gone in what it starts.
for _signum in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, lambda signum, frame: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--docker", action="store_true", help="run the tests that need a container engine"
    )


def pytest_report_header() -> str:
    """The processor: rows of the matrix that need another one are skipped with its name."""
    from sftplay.processor import processor_flags, processor_name

    return f"processor: {processor_name()} ({' '.join(processor_flags())})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `docker` are skipped, with the reason, where nobody asked for them or no engine
    answers.
    """
    marked = [item for item in items if item.get_closest_marker("docker")]
    why = _no_containers(config) if marked else ""
    for item in marked if why else ():
        item.add_marker(pytest.mark.skip(reason=why))


def _no_containers(config: pytest.Config) -> str:
    if not config.getoption("--docker"):
        return "needs a container engine: inv test --docker"
    from sftplay.errors import SftplayError
    from sftplay.host.containers import engine

    try:
        engine.connect()
    except SftplayError as problem:
        return os.environ.get("SFTPLAY_NO_ENGINE") or str(problem)
    return ""


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Runs `python -m sftplay …` in forks of a process that has imported torch, TRL and PEFT."""
    started = Box(tmp_path_factory.mktemp("box"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local model folder that every stage takes; torch is imported for it, once."""
    pytest.importorskip(
        "torch", reason="needs the packages of a stack (not in the host part's own environment)"
    )
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")
