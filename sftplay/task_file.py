"""Task files of lm-eval, read and checked before lm-eval reads them.

A task file is a program's config, and may come from a stranger. lm-eval imports Python that it
names, opens any path and any address, and downloads code of metrics; what of that a file asks for
is found here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftplay.errors import ConfigError, NotFoundError
from sftplay.rawdata import HubDataset
from sftplay.task_data import data_files, hub_datasets
from sftplay.task_keys import key_problems
from sftplay.yamlfile import Marks, TaggedText, read_yaml

FUNCTION = "!function"
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
        places: key → `file:line:column`, of the keys of the task or group.
    """

    path: Path
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    sources: tuple[Path, ...]
    datasets: tuple[HubDataset, ...]
    places: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return the name of its task or group."""
        return str(self.config.get("group", self.config.get("task")))

    @property
    def has_functions(self) -> bool:
        """Return whether it names Python; it is trusted then."""
        return any(isinstance(value, TaggedText) for _, value in _walk(self.config))


def read_task(path: Path, *, trusted: bool) -> TaskFile:
    """Read and check a task file.

    Args:
        trusted: Python that it names may run.

    Raises:
        NotFoundError: no such file, or a data file of it (66). ConfigError: broken YAML, Python
            that is not trusted, a key or value that lm-eval can't use, a path that leaves the
            project, no name (78).
    """
    if not path.is_file():
        raise NotFoundError("no such task file", where=str(path), todo="--tasks FILE.yaml")
    reading = _Reading(trusted)
    config = reading.merged(path)
    reading.require_right()
    _require_name(config, path)
    files, datasets = [], []
    for part in _parts(config):
        files += list(data_files(part, path))
        datasets += list(hub_datasets(part))
    found = tuple(dict.fromkeys(datasets))
    sources = tuple(reading.sources)
    return TaskFile(path, config, tuple(files), sources, found, reading.places)


def _require_name(config: Mapping[str, Any], path: Path) -> None:
    name = config.get("group", config.get("task"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        listed = isinstance(name, list)
        raise ConfigError(
            "a list of tasks has no name" if listed else f"{name!r} is no name of a task",
            where=str(path),
            todo=f"{'group' if listed else 'task'}: NAME, of letters, digits, - . and _",
        )
    if "group" in config:
        _require_members(config, path)


def _require_members(group: Mapping[str, Any], path: Path) -> None:
    """Refuse a group whose members are not whole tasks or groups, each with a name of its own."""
    members = group.get("task")
    if not isinstance(members, list) or not members:
        raise ConfigError(
            f"the group {group['group']} has no tasks",
            where=str(path),
            todo="task: a list of whole tasks, each with a name (task: NAME) and its keys",
        )
    if not all(isinstance(member, Mapping) for member in members):
        raise ConfigError(
            "a group in a file of your own holds whole tasks, not names of others",
            where=str(path),
            todo="name those after it: --tasks FILE.yaml,NAME",
        )
    names = [member.get("group", member.get("task")) for member in members]
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"a member of the group {group['group']} has no name",
                where=str(path),
                todo="task: NAME, of letters, digits, - . and _",
            )
        if names.count(name) > 1 or name == group["group"]:
            raise ConfigError(
                f"two of the group {group['group']} have the name {name}",
                where=str(path),
                todo="give each task and group a name of its own",
            )
    for member in members:
        if "group" in member:
            _require_members(member, path)


@dataclass
class _Reading:
    """A task file and its includes, while they are read.

    Attributes:
        code, wrong: lines about Python that is not trusted, and about keys.
    """

    trusted: bool
    sources: list[Path] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    code: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def merged(self, path: Path, above: Sequence[Path] = ()) -> dict[str, Any]:
        """Return a file's keys over those of its includes, as lm-eval merges them."""
        if path.resolve() in above or len(above) >= _MOST_FILES:
            raise ConfigError("it includes itself", where=str(path), todo="remove that include")
        values, marks = read_yaml(path, (FUNCTION,))
        self.sources.append(path)
        self.code += () if self.trusted else _code_in(values, marks, path)
        self.wrong += key_problems(values, marks, path)
        merged: dict[str, Any] = {}
        included = values.pop("include", [])
        for name in included if isinstance(included, list) else [included]:
            place = path.parent / str(name)
            if not place.is_file():
                raise NotFoundError(f"the included file {name} is missing", where=str(path))
            merged |= self.merged(place, (*above, path.resolve()))
        self.places |= {key: "{}:{}:{}".format(path, *marks[key,]) for key in values}
        return merged | values

    def require_right(self) -> None:
        """ConfigError (78) with everything that is wrong."""
        if self.code:
            files = "these files" if len(self.code) > 1 else "this file"
            raise ConfigError(
                "\n".join([*self.code, *self.wrong][:20]),
                todo="write it with templates ({{field}}) and lm-eval's own metrics; or, if you trust "
                f"{files} and the Python next to it: --trust-tasks",
            )
        if self.wrong:
            raise ConfigError("\n".join(self.wrong[:20]), todo="correct these lines")


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
