"""Help for every task, by `inv` and by tasks.py: it is printed, and nothing else happens."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sftplay.host.cli import bootstrap
from tests.host.cli.test_menu import NAMES
from tests.host.conftest import CHECKOUT, NO_ENGINE, RunTask, make_environment

INV = [sys.executable, "-m", "invoke"]


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with its size and the time it was changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if "__pycache__" not in path.parts and ".venv" not in path.parts:
            facts = path.lstat()
            found[str(path.relative_to(folder))] = (facts.st_size, facts.st_mtime_ns)
    return found


@pytest.mark.parametrize(
    ("form", "flag"),
    [("inv", "--help"), pytest.param("tasks.py", "-h", marks=pytest.mark.long)],  # 70 processes
)
def test_every_task_shows_its_help_and_does_nothing_else(
    form: str, flag: str, checkout: Path, tmp_path: Path
) -> None:
    if form == "tasks.py":
        if not bootstrap.is_done():
            pytest.skip("needs .venv: python3 tasks.py help")
        (checkout / ".venv").symlink_to(CHECKOUT / ".venv")
    started = tmp_path / "started"
    make_environment(checkout / ".envs", f'echo "$@" >>"{started}"')
    env = {
        **os.environ,
        "NO_COLOR": "1",
        "DOCKER_HOST": NO_ENGINE,
        "SFTPLAY_ENVS": str(checkout / ".envs"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    before = everything(checkout)

    def ask(name: str) -> subprocess.CompletedProcess[str]:
        program = INV if form == "inv" else [sys.executable, "tasks.py"]
        return subprocess.run(
            [*program, name, flag],
            cwd=checkout,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    with ThreadPoolExecutor(2) as pool:
        ends = dict(zip(NAMES, pool.map(ask, NAMES), strict=True))
    for name, end in ends.items():
        assert end.returncode == 0, f"{name}: {end.stderr}"
        assert f"[--core-opts] {name} " in end.stdout.splitlines()[0], name
        assert "Options:" in end.stdout, name
        assert end.stderr == "", name
    assert everything(checkout) == before
    assert not started.exists()


@pytest.mark.parametrize(
    "argv",
    [
        ["infer-batch", "--input", "-h"],
        ["train", "--set", "--help"],
        ["eval", "--samples", "--help"],
        ["logs", "some-run", "--nope", "-h"],
        ["runs.compare", "a", "b", "--help"],
    ],
)
def test_help_wins_where_something_else_could_be_meant(argv: list[str], run_task: RunTask) -> None:
    end = run_task(*argv)
    assert end.returncode == 0, end.stderr
    assert f"[--core-opts] {argv[0]} " in end.stdout


def test_help_as_a_value_is_a_value(run_task: RunTask) -> None:
    end = run_task("bench", "--what=--help")
    assert end.returncode == 66
    assert "there is no benchmark --help" in end.stderr
