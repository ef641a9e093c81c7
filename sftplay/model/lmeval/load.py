"""Tasks, loaded and tried without a model: what would fail after hours of answers fails here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sftplay.errors import ConfigError, NotFoundError, SftplayError
from sftplay.lmeval import datasets_of, is_file
from sftplay.model.lmeval.trial import reason, try_rows
from sftplay.task_file import TaskFile, read_task


def read_files(words: Sequence[str], *, trusted: bool) -> dict[str, TaskFile]:
    """Return the task files among the words of `--tasks`, checked.

    Raises:
        NotFoundError (66), ConfigError (78): as `read_task`; two files with the same name.
    """
    files = {word: read_task(Path(word), trusted=trusted) for word in words if is_file(word)}
    names = [file.name for file in files.values()]
    if len(set(names)) < len(names):
        raise ConfigError(f"two files with one name of a task: {', '.join(names)}")
    return files


def dataset_folders(words: Sequence[str], files: Mapping[str, TaskFile]) -> dict[str, Path]:
    """Return hub id → snapshot in the cache, of every dataset that the tasks read.

    Raises:
        NotFoundError: not fetched (66).
    """
    wanted = [one for file in files.values() for one in file.datasets]
    for word in words:
        wanted += () if word in files else datasets_of(word)
    return {one.name: one.folder for one in wanted}


def load(words: Sequence[str], files: Mapping[str, TaskFile], limit: int | None) -> Any:
    """Return lm-eval's tasks and groups of these words.

    Args:
        limit: so many rows of each task will be asked; None: all.

    Raises:
        NotFoundError: a name that lm-eval does not know (66). ConfigError: a file that it can't
            read, an unknown metric, aggregation or filter (78). DataError: as `try_rows` (65).
    """
    from lm_eval.tasks import TaskManager

    for file in files.values():
        _check_names(file)
    public = [word for word in words if word not in files]
    manager = TaskManager(include_defaults=bool(public))
    require_known(public, manager.all_tasks)
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for word in words:
        found = _load_one(manager, word, files.get(word))
        for key, part in loaded.items():
            part.update(found.get(key) or {})
    for file in files.values():
        for name, task in loaded["tasks"].items():
            if name == file.name or name.startswith(f"{file.name}::"):
                try_rows(task, file, limit)
    return loaded


def require_known(names: Sequence[str], known: Sequence[str]) -> None:
    """NotFoundError (66) where lm-eval has no task of a name; it names close ones."""
    for name in names:
        if name not in known:
            close = ", ".join(difflib.get_close_matches(name, known, 4))
            raise NotFoundError(
                f"lm-eval has no task {name}" + (f" (close: {close})" if close else ""),
                todo="its list: github.com/EleutherAI/lm-evaluation-harness; a file of your own ends in .yaml",
            )


def _load_one(manager: Any, word: str, file: TaskFile | None) -> Any:
    try:
        return manager.load([word])
    except SftplayError:
        raise
    except Exception as error:
        if file is None:
            raise NotFoundError(
                f"the task {word} can't be loaded: {reason(error)}",
                todo="fetch its data again: inv fetch --tasks " + word,
            ) from error
        raise ConfigError(
            f"lm-eval can't load it: {reason(error)}", where=str(file.path)
        ) from error


def _check_names(file: TaskFile) -> None:
    """Refuse names that lm-eval does not have. It would ask the hub for a metric's code, and go on
    without an aggregation.
    """
    from lm_eval import filters  # noqa: F401 - registers the filters
    from lm_eval.api import metrics  # noqa: F401 - registers the metrics
    from lm_eval.api.registry import aggregation_registry, filter_registry, metric_registry

    for part in (file.config, *_members(file.config)):
        for metric in _listed(part, "metric_list"):
            _require(metric.get("metric"), "metric", metric_registry, file, part)
            _require(metric.get("aggregation"), "aggregation", aggregation_registry, file, part)
        for pipeline in _listed(part, "filter_list"):
            for step in _listed(pipeline, "filter"):
                _require(step.get("function"), "filter", filter_registry, file, {})


def _members(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    members = config.get("task")
    yield from (
        (one for one in members if isinstance(one, Mapping)) if isinstance(members, list) else ()
    )


def _listed(part: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = part.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _require(name: Any, kind: str, registry: Any, file: TaskFile, part: Mapping[str, Any]) -> None:
    """ConfigError (78) for a name that is not in a registry of lm-eval."""
    if name is None or name in registry or part.get("process_results") is not None:
        return  # a task's own function names its metrics itself
    if type(name) is not str and file.sources:  # a trusted function
        return
    known = sorted(str(key) for key in registry if not str(key).startswith("bypass"))
    raise ConfigError(
        f"unknown {kind} {name!r}", where=str(file.path), todo=f"lm-eval has: {', '.join(known)}"
    )
