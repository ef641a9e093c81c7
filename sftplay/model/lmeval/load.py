"""Tasks, loaded and tried without a model: what would fail after hours of answers fails here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sftplay.errors import ConfigError, NotFoundError, SftplayError
from sftplay.lmeval import datasets_of, is_file
from sftplay.model.lmeval.faults import explain, reason
from sftplay.model.lmeval.fit import require_fields, require_keys, require_splits
from sftplay.model.lmeval.library import replaced
from sftplay.model.lmeval.trial import try_rows
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
        _check_aggregates(file)
    public = [word for word in words if word not in files]
    manager = TaskManager(include_defaults=bool(public))
    require_known(public, manager.all_tasks)
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for word in words:
        own = word in files
        found = _load_own(files[word], limit) if own else _load_public(manager, word)
        for key, part in loaded.items():
            part.update(found.get(key) or {})
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


def _load_public(manager: Any, word: str) -> Any:
    try:
        return manager.load([word])
    except SftplayError:
        raise
    except Exception as error:
        raise NotFoundError(
            f"the task {word} can't be loaded: {reason(error)}",
            todo="fetch its data again: inv fetch --tasks " + word,
        ) from error


def _load_own(file: TaskFile, limit: int | None) -> Any:
    """Load a file as we read it; one that names functions is read again by lm-eval, which imports
    them.
    """
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry, Kind

    kind = Kind.GROUP if "group" in file.config else Kind.TASK
    kind = Kind.PY_TASK if "class" in file.config else kind
    manager = TaskManager(include_defaults=False)
    # by name: by path, lm-eval takes a group's list of tasks for its name
    manager.task_index[file.name] = (
        Entry(file.name, kind, yaml_path=file.path)
        if file.has_functions
        else Entry(file.name, kind, yaml_path=None, cfg=dict(file.config))
    )
    begun: list[Any] = []
    plain = ConfigurableTask.download

    def download(task: Any, *given: Any, **named: Any) -> None:
        begun.append(task)
        _read_data(task.config, file, lambda: plain(task, *given, **named))
        if hasattr(task, "dataset") and task.config.custom_dataset is None:
            require_splits(task.config, task.dataset, file)
            if task.config.process_docs is None:
                require_fields(task.config, task.dataset, file)

    with replaced(ConfigurableTask, "download", download):
        try:
            loaded = manager.load([file.name])
            for task in loaded["tasks"].values():
                begun.append(task)
                try_rows(task, file, limit)
        except SftplayError:
            raise
        except Exception as error:
            if isinstance(error, UnicodeDecodeError):  # only when a row is taken
                raise explain(error, begun[-1].config, file) from error
            if begun and hasattr(begun[-1], "multiple_target"):  # it failed on its first row
                try_rows(begun[-1], file, limit)
            raise ConfigError(
                f"lm-eval can't load it: {reason(error)}", where=str(file.path)
            ) from error
    return loaded


def _read_data(config: Any, file: TaskFile, download: Callable[[], None]) -> None:
    """Let lm-eval read a task's data.

    Raises:
        ConfigError: a key is missing (78). DataError: data that can't be read (65).
    """
    require_keys(config, file)
    try:
        download()
    except SftplayError:
        raise
    except Exception as error:
        raise explain(error, config, file) from error


def _check_names(file: TaskFile) -> None:
    """Refuse names that lm-eval does not have. It would ask the hub for a metric's code, and go on
    without an aggregation.
    """
    from lm_eval import filters  # noqa: F401 - registers the filters
    from lm_eval.api import metrics  # noqa: F401 - registers the metrics
    from lm_eval.api.registry import aggregation_registry, filter_registry, metric_registry
    from lm_eval.api.samplers import SAMPLER_REGISTRY

    for part in (file.config, *_members(file.config)):
        for metric in _listed(part, "metric_list"):
            _require(metric.get("metric"), "metric", metric_registry, file, part)
            _require(metric.get("aggregation"), "aggregation", aggregation_registry, file, part)
        sampler = (part.get("fewshot_config") or {}).get("sampler")
        _require(sampler, "sampler", SAMPLER_REGISTRY, file, {})
        for pipeline in _listed(part, "filter_list"):
            for step in _listed(pipeline, "filter"):
                _require(step.get("function"), "filter", filter_registry, file, {})


def _check_aggregates(file: TaskFile) -> None:
    """Refuse a metric of a group that no member has: lm-eval leaves it out without a word."""
    parts = (file.config, *_members(file.config))
    known = {metric.get("metric") for part in parts for metric in _listed(part, "metric_list")}
    for part in parts if known else ():
        for entry in _listed(part, "aggregate_metric_list"):
            if entry.get("metric") not in known:
                raise ConfigError(
                    f"aggregate_metric_list: no member has the metric {entry.get('metric')}",
                    where=str(file.path),
                    todo=f"their metrics: {', '.join(sorted(map(str, known)))}",
                )


def _members(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the members of a group, and of the groups in it."""
    members = config.get("task")
    for member in members if isinstance(members, list) else ():
        yield member
        yield from _members(member)


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
