"""Datasets that public tasks read, as lm-eval's own task files name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sftplay.errors import NotFoundError
from sftplay.model.lmeval.library import require_library
from sftplay.model.lmeval.load import require_known
from sftplay.rawdata import HubDataset
from sftplay.task_data import LOCAL_FORMATS


def datasets_of_names(names: Sequence[str]) -> dict[str, tuple[HubDataset, ...]]:
    """Return name → the hub datasets of that task, group or tag.

    Raises:
        MachineError: lm-eval is not installed (69). NotFoundError: no such task, or one whose data
            only its Python knows (66).
    """
    if not names:
        return {}
    require_library()
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    require_known(names, manager.all_tasks)
    return {name: tuple(dict.fromkeys(_datasets(manager, name))) for name in names}


def has_public_name(name: str, folder: Path | None = None) -> bool:
    """Return whether a task or group of lm-eval has the name that a file of one's own gives.

    Its files are searched: an index of them by lm-eval itself takes many seconds.

    Args:
        folder: of lm-eval's tasks; default: the installed one's.
    """
    if folder is None:
        import lm_eval.tasks

        folder = Path(lm_eval.tasks.__path__[0])
    line = re.compile(rb"^(task|group): *([\"']?)%s\2 *\r?$" % re.escape(name.encode()), re.M)
    return any(line.search(path.read_bytes()) for path in folder.rglob("*.yaml"))


def _datasets(manager: Any, name: str) -> Iterator[HubDataset]:
    entry = manager.task_index[name]
    children = _children(entry)
    for child in children:
        yield from _datasets(manager, child)
    path = (entry.cfg or {}).get("dataset_path")
    if children or path in LOCAL_FORMATS:
        return
    if not isinstance(path, str):
        raise NotFoundError(
            f"the task {name} names no dataset: its own Python reads its data",
            todo="take another task, or write its rows into a file and a task file of your own",
        )
    revision = (entry.cfg.get("dataset_kwargs") or {}).get("revision")
    yield HubDataset(path, None if revision is None else str(revision))


def _children(entry: Any) -> list[str]:
    """Return the names that a group or a tag stands for."""
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    members = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else None
    listed = members if isinstance(members, list) else []
    names = [one if isinstance(one, str) else one.get("task", one.get("group")) for one in listed]
    return [name for name in names if isinstance(name, str)]
