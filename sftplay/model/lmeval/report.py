"""Output of tasks: metrics.json, samples.jsonl and report.md of each, and a table for the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sftplay import console
from sftplay.errors import SftplayError
from sftplay.files import write_bytes, write_json, write_text
from sftplay.manifest import sealed_folder
from sftplay.model.evaluation.report import how_measured, markdown_table, rows_of, table
from sftplay.model.lmeval import results
from sftplay.runs import Run
from sftplay.untrusted import read_json


def record_of_task(name: str, base: Any, tuned: Any, task: Any) -> dict[str, Any]:
    """Return what is a task's own in its record.

    Args:
        task: lm-eval's; None for a group.
    """
    left_out = {"not_a_number": results.metric_names(name, base, tuned)[1]}
    if task is None:
        rows = {one: base["n-samples"][one]["effective"] for one in _leaves(name, base)}
        found = results.compare_group(name, base, tuned)
        return {"task": name, "rows": rows, "metrics": found, **left_out}
    return {
        "task": name,
        "task_version": base["versions"].get(name),
        "output_type": task.OUTPUT_TYPE,
        "num_fewshot": base["n-shot"].get(name),
        "rows": {name: base["n-samples"][name]["effective"]},
        "metrics": results.compare_task(name, base, tuned, task),
        **left_out,
    }


def _leaves(group: str, found: Any) -> list[str]:
    """Return the tasks of a group, and of the groups in it."""
    leaves: list[str] = []
    for child in found["group_subtasks"].get(group, ()):
        leaves += [child] if child in found["n-samples"] else _leaves(child, found)
    return leaves


def write(target: Run, record: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> None:
    """Write outputs/<run>/eval/task-<name>/, and print its table. An evaluation with a limit has a
    folder of its own, `task-<name>-limit-<rows>`.
    """
    name, limit = str(record["task"]), record["settings"]["limit"]
    place = target.task(name if limit is None else f"{name}-limit-{limit}")
    if replaced := what_it_replaces(place, record):
        console.warning(f"{name}: {replaced}")
    with sealed_folder(place, {"run": target.name, "task": name}) as folder:
        write_json(folder / "metrics.json", record)
        lines = b"".join(orjson.dumps(one) + b"\n" for one in samples)
        write_bytes(folder / "samples.jsonl", lines)
        write_text(folder / "report.md", _report(record))
    if record["not_a_number"]:
        console.warning(f"{name}: not a number, left out: {', '.join(record['not_a_number'])}")
    console.result(f"{name}\n{table(record)}")
    console.success(str(place / "report.md"))


def what_it_replaces(place: Path, record: Mapping[str, Any]) -> str:
    """Return a line about the evaluation in a folder, empty where it measured the same."""
    try:
        old = read_json(place / "metrics.json", rows=dict, settings=dict)
    except SftplayError:
        return ""  # none, or damaged
    if _asked(old) == _asked(record):
        return ""
    rows = sum(count for count in old["rows"].values() if isinstance(count, int))
    found = f"replaces the evaluation of {console.count_of(rows)}"
    was, now = old["settings"], record["settings"]
    if _contents(old) != _contents(record):
        found += " of other files"
    if old.get("datasets") != record.get("datasets"):
        found += " of other datasets"
    if was.get("chat_template") != now.get("chat_template"):
        found += f", {'with' if was.get('chat_template') else 'without'} the chat template"
    elif was.get("system") != now.get("system"):
        found += ", with another style prompt"
    return found


def _asked(record: Mapping[str, Any]) -> list[Any]:
    settings = record["settings"]
    asked = [settings.get(key) for key in ("limit", "chat_template", "system")]
    return [record["rows"], *asked, _contents(record), record.get("datasets")]


def _contents(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the hashes of a task's files, whatever paths led to them."""
    files = record.get("files") or {}
    return {kind: sorted(map(str, hashes.values())) for kind, hashes in files.items()}


def _report(record: Mapping[str, Any]) -> str:
    model, asked = record["model"], record["settings"]
    lines = [f"# {record['run']}: task {record['task']}", "", *markdown_table(record), ""]
    lines.append(f"In brackets: 95 % intervals, {how_measured(rows_of(record))}.")
    lines += ["", "| | base | tuned |", "|---|---:|---:|", *_stderr_lines(record), ""]
    lines.append(
        f"{model['base_model']} against the same model tuned by {model['method']}; lm-eval "
        f"{record['versions']['lm-eval']}, {'with' if asked['chat_template'] else 'without'} the chat "
        f"template; {record['precision']} on {record['device']}. Every row with its scores: samples.jsonl."
    )
    return "\n".join(lines) + "\n"


def _stderr_lines(record: Mapping[str, Any]) -> list[str]:
    return [
        f"| standard error of {name} | {_number(one['base_stderr'])} | {_number(one['tuned_stderr'])} |"
        for name, one in record["metrics"].items()
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
