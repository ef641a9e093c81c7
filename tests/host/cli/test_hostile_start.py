"""Surroundings in which Python itself behaves differently: a clear word or no effect, through every
door.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sftplay.host.cli import bootstrap
from tests.host.cli.test_project import Person, installed, person  # noqa: F401 - fixtures
from tests.host.conftest import CHECKOUT

_MARKS = {"traceback": "Traceback", "prompt": ">>>", "bug": "a bug in sftplay"}


@dataclass
class Door:
    """A project, and the words with which a person starts tasks there."""

    name: str
    words: list[str]
    folder: Path
    environ: dict[str, str]
    home: Path = field(default_factory=Path)

    def run(
        self, *argv: str, redirect: str = "", **changed: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *self.words, *argv],
            cwd=self.folder,
            env={**self.environ, **changed},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for what, mark in _MARKS.items():
            assert mark not in done.stdout + done.stderr, (what, done.stdout, done.stderr)
        return done


@pytest.fixture(params=["checkout", "installed", "project"])
def door(request: pytest.FixtureRequest, person: Person, tmp_path: Path) -> Door:  # noqa: F811
    home = tmp_path / "home"
    if request.param == "checkout":
        if not bootstrap.is_done():
            pytest.skip("needs .venv: python3 tasks.py")
        folder = tmp_path / "checkout"
        folder.mkdir()
        for part in ("sftplay", "configs", "images"):
            shutil.copytree(
                CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copy(CHECKOUT / "tasks.py", folder)
        shutil.copytree(CHECKOUT / ".venv", folder / ".venv", symlinks=True, copy_function=_link)
        words = [str((CHECKOUT / ".venv/bin/python").resolve()), "tasks.py"]
        return Door(request.param, words, folder, {**person.environ, "PATH": "/usr/bin:/bin"}, home)
    made = person.types(tmp_path, "sftplay", "init", "mine")
    assert made.returncode == 0, made.stderr
    words = ["sftplay"] if request.param == "installed" else ["python", "tasks.py"]
    return Door(request.param, words, tmp_path / "mine", person.environ, home)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def write_rows(door: Door) -> None:
    rows = [{"question": f"How much is {n} + 1?", "answer": str(n + 1)} for n in range(30)]
    raw = door.folder / "data/raw/rows.jsonl"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def test_modules_of_the_persons_own_hide_none_of_pythons(door: Door) -> None:
    write_rows(door)
    for name in ("json", "yaml", "typing", "pydantic", "uv", "re", "subprocess"):
        (door.folder / f"{name}.py").write_text(f"raise SystemExit('hostile {name}')\n")
    for argv in (("--list",), ("process", "--runner", "local"), ("image.check",)):
        done = door.run(*argv)
        assert "hostile" not in done.stdout + done.stderr
        assert done.returncode in (0, 69), (argv, done.stderr)  # 69: no engine
    assert (door.folder / "data/processed/train.jsonl").is_file()


_OF_PYTHON = {
    "PYTHONSAFEPATH": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONINSPECT": "1",
    "PYTHONSTARTUP": "/nowhere/startup.py",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_OF_THE_TERMINAL = {
    **{"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    **{"COLUMNS": "x", "LINES": "-1", "TERM": "dumb"},
    **{"INVOKE_RUN_ECHO": "1", "INVOKE_DEBUG": "x", "PYTHONWARNINGS": "error"},
}


@pytest.mark.parametrize("variable", [_OF_PYTHON, _OF_THE_TERMINAL], ids=["python", "terminal"])
def test_variables_of_python_change_nothing(door: Door, variable: dict[str, str]) -> None:
    listed = door.run("--list", **variable)
    assert listed.returncode == 0, listed.stderr
    assert "Check the machine" in listed.stdout  # docstrings are there
    assert door.run("nope", **variable).returncode == 2
    write_rows(door)
    done = door.run("process", "--runner", "local", **variable)
    assert done.returncode == 0, done.stderr


def test_a_home_of_python_that_is_none_is_pythons_own_word(door: Door) -> None:
    done = door.run("--list", PYTHONHOME="/nowhere")
    assert done.returncode != 0
    assert "/nowhere" in done.stderr


def test_broken_files_of_invokes_stop_no_task(door: Door) -> None:
    for name in ("invoke.yaml", "invoke.json", "invoke.py"):
        (door.home / f".{name}").write_text("{[broken")
        (door.folder / name).write_text("{[broken")
    assert door.run("config.show").returncode == 0


def _is_file(home: Path) -> None:
    home.write_text("")


def _is_missing(home: Path) -> None:
    """Make nothing."""


def _is_a_loop(home: Path) -> None:
    home.symlink_to(home.name)


@pytest.mark.parametrize("make", [_is_file, _is_missing, _is_a_loop])
def test_a_home_that_is_no_folder(door: Door, tmp_path: Path, make: Callable[[Path], None]) -> None:
    home = tmp_path / "odd"
    make(home)
    write_rows(door)
    odd = {"HOME": str(home)}
    assert door.run("process", "--runner", "local", **odd).returncode == 0
    with_cache = {**odd, "SFTPLAY_CACHE": ""}
    # an installed sftplay keeps its own files in the cache
    codes = (0, 69) if door.name == "checkout" else (0, 66, 69, 74)
    assert door.run("doctor", **with_cache).returncode in codes
    if door.name == "checkout":
        words = ("fetch", "--runner", "local", "--set", "model.name=owner/model")
        fetch = door.run(*words, HF_ENDPOINT="http://127.0.0.1:9", **with_cache)
        assert fetch.returncode in (66, 69, 74), fetch.stderr


@pytest.mark.parametrize("argv", [("--list",), ("config.show",)])
def test_stdout_that_takes_nothing(door: Door, argv: tuple[str, ...]) -> None:
    full = door.run(*argv, redirect="> /dev/full")
    assert full.returncode == 74, full.stderr
    assert "the output can't be written" in full.stderr
    assert len(full.stderr.splitlines()) <= 2
    assert door.run(*argv, redirect="2> /dev/full").returncode == 0
    for redirect in (">&-", ">&- 2>&- <&-"):
        closed = door.run(*argv, redirect=redirect)
        assert closed.returncode == 0, (redirect, closed.stderr)


def test_a_stage_whose_streams_are_closed_or_full(door: Door, tiny_model: Path) -> None:
    write_rows(door)
    for redirect in (">&- 2>&- <&-", "2> /dev/full"):
        done = door.run("process", "--runner", "local", redirect=redirect)
        assert done.returncode == 0, (redirect, done.stderr)
    assert (door.folder / "data/processed/train.jsonl").is_file()
    if door.name != "installed":
        return  # the rest begins no other way: what is said of it here holds for all doors
    words = ("--runner", "local", "--set", f"model.name={tiny_model}")
    for stage in ("full-pipeline", "tokenize"):
        assert door.run(stage, *words).returncode == 0
    full = door.run("data.show", *words, redirect="> /dev/full")
    assert full.returncode == 74, full.stderr
