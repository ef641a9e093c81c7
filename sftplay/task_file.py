"""Task files of lm-eval, read and checked before lm-eval reads them.

A task file is a program's config, and may come from a stranger. lm-eval imports Python that it
names, opens any path and any address, and downloads code of metrics; what of that a file asks for
is found here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.errors import ConfigError, NotFoundError
from sftplay.rawdata import HubDataset
from sftplay.yamlfile import Marks, TaggedText, read_yaml

FUNCTION = "!function"
# Builders of the datasets library that read local files.
LOCAL_FORMATS = ("json", "csv", "parquet", "arrow", "text")
# Keys that make lm-eval run code, and what they do.
_CODE_KEYS = {
    "class": "imports Python",
    "unsafe_code": "runs code that the model writes",
    "hf_evaluate": "downloads the code of a metric",
    "trust_remote_code": "runs the code of a dataset",
    "use_prompt": "imports prompts from elsewhere",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_FILES = 50  # of one task, all its includes together


@dataclass(frozen=True)
class TaskFile:
    """A task file, its includes followed, checked.

    Attributes:
        path: as it was named.
        config: its keys over those of its includes.
        files: every data file that it reads; sources: itself and its includes.
        datasets: hub datasets that it reads.
    """

    path: Path
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    sources: tuple[Path, ...]
    datasets: tuple[HubDataset, ...]

    @property
    def name(self) -> str:
        """Return the name of its task or group."""
        return str(self.config.get("group", self.config.get("task")))


def read_task(path: Path, *, trusted: bool) -> TaskFile:
    """Read and check a task file.

    Args:
        trusted: Python that it names may run.

    Raises:
        NotFoundError: no such file, or a data file of it (66). ConfigError: broken YAML, Python
            that is not trusted, a path that leaves the project, no name, no data (78).
    """
    if not path.is_file():
        raise NotFoundError("no such task file", where=str(path), todo="--tasks FILE.yaml")
    config, sources, problems = _merged(path, trusted=trusted, above=())
    if problems:
        raise ConfigError("\n".join(problems[:20]), todo=_advice(problems))
    _require_name(config, path)
    files, datasets = [], []
    for part in _parts(config):
        files += list(_data_files(part, path))
        datasets += list(_hub_datasets(part))
    return TaskFile(path, config, tuple(files), sources, tuple(dict.fromkeys(datasets)))


def _require_name(config: Mapping[str, Any], path: Path) -> None:
    name = config.get("group", config.get("task"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name of a task",
            where=str(path),
            todo="task: NAME, of letters, digits, - . and _",
        )
    members = config.get("task") if "group" in config else None
    if isinstance(members, list) and any(isinstance(member, str) for member in members):
        raise ConfigError(
            "a group in a file of your own holds whole tasks, not names of others",
            where=str(path),
            todo="name those after it: --tasks FILE.yaml,NAME",
        )


def _merged(
    path: Path, *, trusted: bool, above: Sequence[Path]
) -> tuple[dict[str, Any], tuple[Path, ...], list[str]]:
    """A file's keys over those of its includes, as lm-eval merges them; the files; what is wrong."""
    if path.resolve() in above or len(above) >= _MOST_FILES:
        raise ConfigError("it includes itself", where=str(path), todo="remove that include")
    values, marks = read_yaml(path, (FUNCTION,))
    problems = [] if trusted else list(_code_in(values, marks, path))
    merged: dict[str, Any] = {}
    sources: tuple[Path, ...] = (path,)
    included = values.pop("include", [])
    for name in included if isinstance(included, list) else [included]:
        place = path.parent / str(name)
        if not place.is_file():
            raise NotFoundError(f"the included file {name} is missing", where=str(path))
        inside, more, found = _merged(place, trusted=trusted, above=(*above, path.resolve()))
        inside.pop("task_list", None)
        merged |= inside
        sources, problems = sources + more, problems + found
    return merged | values, sources, problems


def _code_in(values: Mapping[str, Any], marks: Marks, path: Path) -> Iterator[str]:
    """Yield a line for everything in a task file that would run Python."""
    for place, value in _walk(values):
        key = place[-1]
        if isinstance(value, TaggedText):
            what = f"`{FUNCTION} {value}` imports Python"
        elif key in _CODE_KEYS and value not in (False, None):
            what = f"`{key}: {value}` {_CODE_KEYS[key]}"
        else:
            continue
        line, column = marks.get(place, (1, 1))
        yield f"{path}:{line}:{column}: {'.'.join(place)}: {what}"


def _advice(problems: Sequence[str]) -> str:
    return (
        "write it with templates ({{field}}) and lm-eval's own metrics; or, if you trust "
        f"{'these files' if len(problems) > 1 else 'this file'} and the Python next to it: --trust-tasks"
    )


def _walk(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value below a mapping or list, with its keys."""
    pairs: Any = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, inner in pairs:
        here = (*place, str(key))
        yield here, inner
        yield from _walk(inner, here)


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every mapping that may name data: the task, and tasks written into a group."""
    yield config
    yield from (value for _, value in _walk(config) if isinstance(value, Mapping))


def _data_files(part: Mapping[str, Any], path: Path) -> Iterator[Path]:
    """Yield the local files that a task reads.

    Raises:
        ConfigError: an address, or a path outside of the project (78). NotFoundError: no such
            file (66).
    """
    options = part.get("dataset_kwargs")
    given = options if isinstance(options, Mapping) else {}
    for key in ("data_files", "data_dir"):
        for word in _words(given.get(key)):
            yield from _inside(word, path, f"dataset_kwargs.{key}")
    named = part.get("dataset_path")
    if isinstance(named, str) and named not in LOCAL_FORMATS and _is_path(named):
        yield from _inside(named, path, "dataset_path")


def _words(value: Any) -> Iterator[str]:
    """Yield the texts of a text, a list, or a mapping of them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list):
            yield from map(str, one)
        elif one is not None:
            yield str(one)


def _is_path(named: str) -> bool:
    return named.startswith(("/", ".", "~")) or Path(named).exists()


def _inside(word: str, path: Path, key: str) -> Iterator[Path]:
    """Yield the files that a word of a task file means, by the rules of the datasets library."""
    if "://" in word or "::" in word:
        raise ConfigError(
            f"{key}: {word} is an address; evaluations have no network",
            where=str(path),
            todo="download the file, and name it",
        )
    root = Path.cwd().resolve()
    pattern = any(mark in word for mark in "*?[")
    if word.startswith("~") or ".." in Path(word).parts or not _leads_into(root, root / word):
        raise _leaves(word, path, key)
    found = sorted(root.glob(word)) if pattern and not Path(word).is_absolute() else [root / word]
    if not found or not all(one.exists() for one in found):
        raise NotFoundError(
            f"{key}: no such file: {word}",
            where=str(path),
            todo="paths in a task file are relative to the project's folder",
        )
    for one in found:
        if not _leads_into(root, one):
            raise _leaves(word, path, key)
        yield one.relative_to(root)


def _leads_into(root: Path, place: Path) -> bool:
    """Return whether a path, its links followed, is inside of the project."""
    return place.resolve().is_relative_to(root)


def _leaves(word: str, path: Path, key: str) -> ConfigError:
    return ConfigError(
        f"{key}: {word} leads out of the project",
        where=str(path),
        todo="copy the file into the project, and name that copy",
    )


def _hub_datasets(part: Mapping[str, Any]) -> Iterator[HubDataset]:
    named = part.get("dataset_path")
    if isinstance(named, str) and named not in LOCAL_FORMATS and not _is_path(named):
        options = part.get("dataset_kwargs")
        revision = options.get("revision") if isinstance(options, Mapping) else None
        yield HubDataset(named, None if revision is None else str(revision))
