"""Paths as a person means them: from where they stand, with `~`. Tasks run in the project's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay.host.system.checkout import PROJECT
from sftplay.stages import STAGES

# parameters of tasks that name a file or folder; options of stages say so themselves
PATHS = frozenset({"batch", "config", "file", "old", "out", "output"}) | {
    option.key for stage in STAGES for option in stage.options if option.path
}
# those whose words may be names as well: with commas between them, or one
NAMES_OR_PATHS = frozenset({"python", "target", "tasks"})


def from_here(given: Mapping[str, Any], words: str | None) -> dict[str, Any]:
    """Return a task's parameters with paths that lead to the same places from the project's folder.

    Args:
        words: the parameter whose values are plain words after the task's name.
    """
    return {key: _resolved(key, value, words) for key, value in given.items()}


def _resolved(key: str, value: Any, words: str | None) -> Any:
    if isinstance(value, list):
        return [_word(key, one) for one in value] if key == words else value
    if not value or not isinstance(value, str):
        return value  # not given, or a flag
    if key in NAMES_OR_PATHS:
        return ",".join(_word(key, one.strip()) for one in value.split(","))
    return _path(value) if key in PATHS else value


def _word(key: str, word: str) -> str:
    """A word that is a path or a name: a run, a dataset of the hub, a public task."""
    if key in NAMES_OR_PATHS:
        return _path(word) if "/" in word or word.endswith((".yaml", ".yml")) else word
    return _path(word) if key in PATHS and not _is_dataset(word) else word


def _is_dataset(word: str) -> bool:
    from sftplay.rawdata import hub_dataset

    return hub_dataset(word) is not None


def _path(value: str) -> str:
    """One that is there only from the project's folder is meant from there."""
    try:
        place = Path(value).expanduser()
    except RuntimeError:  # ~ of a user who is not there
        place = Path(value)
    here, project = Path.cwd(), PROJECT.resolve()
    if place.is_absolute() or here == project:
        return str(place) if value.startswith("~") else value
    if (project / place).exists() and not (here / place).exists():
        return value
    inside = here.is_relative_to(project)
    return str(here.relative_to(project) / place if inside else here / place)
