"""`inv help`: the tasks in the order in which a person needs them, with what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from invoke.tasks import Task

from sftplay import __version__

PICTURE = "data/raw → process → style → render → train → eval, infer, merge"


def text(menu: Mapping[str, Sequence[Task[Any]]]) -> str:
    """The menu as text: a heading and a line for each task."""
    width = max(len(_name(task)) for group in menu.values() for task in group)
    lines = [f"sftplay {__version__}: {PICTURE}"]
    for heading, group in menu.items():
        lines += ["", heading]
        lines += [
            f"  {_name(task):<{width}}  {(task.__doc__ or '').strip().splitlines()[0]}"
            for task in group
        ]
    lines += [
        "",
        "inv runs lists what was trained; runs.show RUN, runs.compare A B and runs.rm RUN look at it, compare it, remove it.",
        "inv TASK --help shows a task's options; inv config.show every key of a config; inv data.show rows as the model sees them.",
    ]
    return "\n".join(lines)


def show(menu: Mapping[str, Sequence[Task[Any]]]) -> None:
    """Print the menu."""
    print(text(menu))  # noqa: T201 - the result


def _name(task: Task[Any]) -> str:
    return str(task.name).replace("_", "-")
