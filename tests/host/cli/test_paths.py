"""Every task parameter that names a file or folder means it from where the person stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.tasks import Task

from sftplay.host.cli.menu import namespace
from sftplay.host.cli.paths import NAMES_OR_PATHS, PATHS
from sftplay.host.cli.task import task
from sftplay.host.system.checkout import PROJECT
from sftplay.stages import STAGES
from tests.host.conftest import RunTask

_PATH_WORDS = re.compile(r"\b(files?|folder|path|page)\b|FILE", re.IGNORECASE)
# parameters whose help speaks of files, and that name none of them
_NO_PATHS = {
    "adapter": "a flag",
    "claim": "a volume claim",
    "folder": "of init, which works where the person stands",
    "gguf": "of push: a flag",
    "pyxis": "an absolute path on the cluster",
    "quant": "a format",
    "registry": "a host",
    "run": "a run's name",
    "shared": "a flag",
    "trust_tasks": "a flag",
}


def _parameters() -> Iterator[tuple[str, str, str]]:
    """Yield (task, parameter, its help) of the whole menu."""
    for name in namespace.task_names:
        made: Task[Any] = namespace[name]
        for argument in made.get_arguments():
            yield name, argument.name.replace("-", "_"), argument.help or ""


def test_no_parameter_that_names_a_file_is_forgotten() -> None:
    found = list(_parameters())
    assert len(found) > 200
    speaking = {
        name: f"{task} --{name}: {text}" for task, name, text in found if _PATH_WORDS.search(text)
    }
    taken = PATHS | NAMES_OR_PATHS
    assert not [text for name, text in speaking.items() if name not in taken | {*_NO_PATHS}]
    assert {*_NO_PATHS} <= {*speaking}, "exceptions that are none any more"
    for stage in STAGES:
        assert {option.key for option in stage.options if option.path} <= PATHS
    assert taken <= {name for _, name, _ in found}, "names that no task has"


def _received(key: str, value: Any, words: str | None = None) -> Any:
    """Return what a task's body gets for a parameter that was typed."""
    got = {}

    def body(context: Context, **given: Any) -> int:
        got.update(given)
        return 0

    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in ("context", key)
    ]
    body.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    body.__doc__ = "Task of a test."
    task(name="probe", words=words)(body)(Context(), **{key: value})
    return got[key]


@pytest.mark.parametrize("key", sorted(PATHS))
def test_paths_of_every_parameter(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "configs").mkdir()
    for here, typed, wanted in (
        (tmp_path, "mine.txt", f"{tmp_path}/mine.txt"),
        (tmp_path, "../mine.txt", f"{tmp_path}/../mine.txt"),
        (tmp_path, "~/mine.txt", f"{tmp_path}/home/mine.txt"),
        (tmp_path, "/a/mine.txt", "/a/mine.txt"),
        (tmp_path, "configs/run_bnb.yaml", "configs/run_bnb.yaml"),  # there in the project only
        (PROJECT / "docs", "mine.txt", "docs/mine.txt"),
        (PROJECT / "docs", "~/mine.txt", f"{tmp_path}/home/mine.txt"),
        (PROJECT, "mine.txt", "mine.txt"),
        (PROJECT, "~/mine.txt", f"{tmp_path}/home/mine.txt"),
    ):
        monkeypatch.chdir(here)
        assert _received(key, typed) == wanted, (here, typed)
        monkeypatch.chdir(here)
        assert _received(key, True) is True  # of an option that may stand alone


def test_words_that_are_paths_or_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, typed, wanted in (
        ("tasks", "arc_easy, mine.yaml,dir/one.yaml", f"arc_easy,{tmp_path}/mine.yaml,{tmp_path}/dir/one.yaml"),
        ("python", "3.13", "3.13"),
        ("python", "./bin/python", f"{tmp_path}/bin/python"),
    ):  # fmt: skip
        monkeypatch.chdir(tmp_path)
        assert _received(key, typed) == wanted
    for key, words, wanted_words in (
        ("target", ["demo"], ["demo"]),
        ("target", ["mine.yaml"], [f"{tmp_path}/mine.yaml"]),
        ("file", ["a.csv", "owner/rows@main", "*.jsonl"], [f"{tmp_path}/a.csv", "owner/rows@main", f"{tmp_path}/*.jsonl"]),
        ("names", ["demo", "owner/name"], ["demo", "owner/name"]),
    ):  # fmt: skip
        monkeypatch.chdir(tmp_path)
        assert _received(key, words, key) == wanted_words


def test_a_file_is_written_where_the_person_stands(run_task: RunTask, checkout: Path) -> None:
    folder = checkout / "configs" / "mine"
    folder.mkdir()
    end = run_task("config.schema", "--output=here.json", cwd=folder)
    assert end.returncode == 0, end.stderr
    assert (folder / "here.json").is_file() and "configs/mine/here.json" in end.stderr
    end = run_task("config.schema", "--output=~/home.json", env={"HOME": str(folder)})
    assert end.returncode == 0 and (folder / "home.json").is_file(), end.stderr
