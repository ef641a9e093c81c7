"""A copy of the checkout to run tasks in, with the environments of the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sftplay.files import hash_file, write_json
from sftplay.host.local import environments
from tests.host.experiments import three  # noqa: F401 - a fixture of several folders
from tests.host.standin import Project

CHECKOUT = Path(__file__).resolve().parents[2]
_PARTS = ("sftplay", "configs", "images", "tasks.py", "pyproject.toml")

# so that an image of this very checkout changes no test of the local runner
NO_ENGINE = "unix:///nowhere/docker.sock"

RunTask = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a clean checkout holds, as far as tasks need it."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in _PARTS:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    return copy


def make_environment(envs_folder: Path, script: str) -> None:
    """A cpu environment of today's lock whose Python is this script."""
    lock_hash = hash_file(CHECKOUT / "images/cpu/requirements.lock")
    folder = envs_folder / f"cpu-{lock_hash.removeprefix('sha256:')[:12]}"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "bin/python").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin/python").chmod(0o755)
    write_json(folder / "sftplay.json", {"lock_hash": lock_hash, "environment_hash": "sha256:0"})


def stage_python() -> str:
    """The Python that stages run in: this one if it has their packages, else that of the cpu stack,
    if it is here.
    """
    if find_spec("orjson"):
        return sys.executable
    if "cpu" not in environments.present():
        pytest.skip("needs the cpu stack: inv install")
    return str(environments.ensure("cpu").python)


@pytest.fixture
def environment(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy's cpu environment is the one that the tests run in: the same locked packages."""
    make_environment(checkout / ".envs", f'exec "{stage_python()}" "$@"')
    monkeypatch.setenv("SFTPLAY_ENVS", str(checkout / ".envs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def cpu_env() -> Path:
    """The folder of environments, with the cpu stack in it."""
    environments.ensure("cpu")
    return environments.envs_folder()


@pytest.fixture
def run_task(checkout: Path) -> RunTask:
    """Run a task in the copy, as tasks.py does once .venv is there."""

    def run(
        *argv: str, env: dict[str, str] | None = None, cwd: Path | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sftplay.host.cli", *argv],
            cwd=cwd or checkout,
            env={
                **os.environ,
                "PYTHONPATH": str(checkout),
                "NO_COLOR": "1",
                "DOCKER_HOST": NO_ENGINE,
                **(env or {}),
            },
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A stand-in for the training stage, in the working directory; nothing of it is left running."""
    project = Project(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield project
    project.end()
