"""`inv runs`: every run of outputs/ in one table, the broken ones too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from sftplay import console
from sftplay.files import human_size
from sftplay.host.protocol.records import newest_place
from sftplay.host.runs.view import RunView, read_runs
from sftplay.host.ui.format import show_duration
from sftplay.host.ui.tables import print_table
from sftplay.runs import TASK_PREFIX

STYLES = {
    "running": "bold",
    "finished": "green",
    "interrupted": "yellow",
    "cut off": "yellow",
    "not begun": "dim",
}
COLUMNS = (
    "run",
    "state",
    "backend",
    "model",
    "method",
    "steps",
    "loss",
    "val loss",
    "ROUGE-L",
    "time",
    "size",
)
_NUMBERS = COLUMNS[5:]
_LEAST = (
    "size",
    "time",
    "method",
    "backend",
    "ROUGE-L",
    "steps",
)  # what a narrow terminal does without, in this order


def show(*, as_json: bool = False) -> None:
    """Print the table on stdout, and what is wrong with runs on stderr."""
    views = list(read_runs())
    if as_json:
        console.result(json.dumps([facts(view) for view in views], indent=2, default=str))
        return
    if not views:
        console.info("no runs yet; next: inv train, or inv quickstart")
        return
    print_runs(views)
    for view in views:
        for problem in view.problems:
            console.warning(f"{view.name}: {problem}")


def print_runs(views: Sequence[RunView]) -> None:
    """Print the table; a column of lm-eval's tasks, and one of places in a cluster, only where a run
    has some.
    """
    columns: tuple[str, ...] = COLUMNS
    rows = [cells(view) for view in views]
    places = [newest_place(view.run.launch) for view in views]
    for name, more in (("where", places), ("tasks", [task_results(view) for view in views])):
        if any(more):
            columns = (*columns, name)
            rows = [[*row, cell] for row, cell in zip(rows, more, strict=True)]
    least = ("tasks", *_LEAST)
    print_table(columns, rows, _NUMBERS, short=("model", "where"), least=least)


def task_results(view: RunView) -> str:
    """`arc_easy acc 0.41 → 0.45`: the first metric of each task of lm-eval, at most three."""
    found = [
        f"{one.split.removeprefix(TASK_PREFIX)} {one.name.removesuffix(',none')} {one.shown('.2f')}"
        for one in view.task_metrics()
    ]
    return ", ".join(found[:3]) + (" …" if len(found) > 3 else "")


def cells(view: RunView) -> list[str | Text]:
    """A run's line."""
    seconds = view.seconds
    return [
        view.name,
        Text(view.state, style=STYLES.get(view.state, "red")),
        view.backend,
        short_model(str(view.stamp.get("base_model") or "")),
        str(view.stamp.get("tuning_method") or view.record.get("method") or ""),
        view.steps,
        decimals(view.loss),
        decimals(view.val_loss),
        before_after(view, "rouge_l", ".1f"),
        "" if seconds is None else show_duration(seconds),
        human_size(view.size),
    ]


def facts(view: RunView) -> dict[str, Any]:
    """A run as plain values."""
    return {
        "run": view.name,
        "state": view.state,
        "requested_backend": view.stamp.get("requested_backend"),
        "backend": view.stamp.get("backend"),
        "model": view.stamp.get("base_model"),
        "method": view.stamp.get("tuning_method"),
        "steps": view.record.get("steps") or view.progress.get("step"),
        "loss": view.loss,
        "val_loss": view.val_loss,
        "metrics": {split: record.get("metrics") for split, record in view.metrics.items()},
        "seconds": view.seconds,
        "bytes": view.size,
        "began": view.began,
        "where": newest_place(view.run.launch),
        "problems": list(view.problems),
    }


def before_after(view: RunView, metric: str, form: str) -> str:
    """`12.1 → 30.4`: a metric of the evaluation for base and tuned model."""
    found = view.metric(metric)
    return found.shown(form) if found else ""


def decimals(value: float | None, form: str = ".3f") -> str:
    """A number for a cell; empty where there is none."""
    return "" if value is None else f"{value:{form}}"


def short_model(name: str) -> str:
    """The last part of a folder or hub id."""
    return name.rstrip("/").rpartition("/")[2]
