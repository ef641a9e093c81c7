"""Rows of a task file, each tried with a made-up response: what can't be scored is refused before the
model is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from sftplay.console import count_of
from sftplay.data.progress import progress
from sftplay.errors import ConfigError, DataError
from sftplay.task_file import LOCAL_FORMATS, TaskFile

_LIKELIHOOD = (-1.0, False)  # a response: log-likelihood, and whether it is the greedy one
_GIVEN: dict[str, Any] = {"loglikelihood": _LIKELIHOOD, "loglikelihood_rolling": -1.0}
_PLAIN = re.compile(r"\{\{\s*(\w+)\s*\}\}")  # a template that is one field
_SHOWN = 5  # rows in a message


def try_rows(task: Any, file: TaskFile, limit: int | None) -> None:
    """Make the request of every row that will be asked, and score a made-up response to it.

    Raises:
        ConfigError: the first row can't be scored, or a metric of the task gives nothing (78).
        DataError: another row can't be scored, or no answer to a row could be right (65).
    """
    if task.config.process_results is not None:
        return
    count = min(len(task.eval_docs), limit or math.inf)
    problems: list[str] = []
    with progress(int(count), "row", f"checking {file.name}") as bar:
        for number, doc in enumerate(islice(task.eval_docs, limit), start=1):
            try:
                problem = wrong_target(task, doc)
                found = {} if problem else _score(task, doc)
            except Exception as error:
                problem = f"can't be scored: {reason(error)}"
                if number == 1:
                    raise _unfit(task, file, problem) from error
            if problem:
                problems.append(f"row {number:,}: {problem}")
            elif number == 1:
                _require_metrics(task, file, found)
            bar.advance()
    if problems:
        raise _wrong_rows(task, file, problems)


def _score(task: Any, doc: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return lm-eval's scores of a made-up response."""
    kind = task.OUTPUT_TYPE
    task.doc_to_text(doc)
    task.doc_to_target(doc)
    given = [_GIVEN.get(kind, "x")]
    if kind == "multiple_choice":
        twice = 2 if "acc_mutual_info" in task.aggregation() else 1
        given = [_LIKELIHOOD] * (len(task.doc_to_choice(doc)) * twice)
    found: Mapping[str, Any] = task.process_results(doc, given)
    return found


def wrong_target(task: Any, doc: Mapping[str, Any]) -> str:
    """Return what is wrong with a row's target, empty if an answer could be right. lm-eval counts
    such a row as a wrong answer of every model.
    """
    key = "doc_to_text" if task.multiple_input else "doc_to_target"
    template = getattr(task.config, key)
    field = _PLAIN.fullmatch(template.strip()) if isinstance(template, str) else None
    name = field[1] if field else template
    if isinstance(name, str) and name in doc and doc[name] is None:
        return f"its field {name} ({key}) is missing"
    if task.config.doc_to_choice is None or task.OUTPUT_TYPE not in (
        "multiple_choice",
        "generate_until",
    ):
        return ""
    choices, target = list(task.doc_to_choice(doc)), getattr(task, key)(doc)
    each = target if isinstance(target, list) else [target]
    places = range(len(choices))
    if each and all(one in (choices if isinstance(one, str) else places) for one in each):
        return ""
    shown = ", ".join(f"{place} {text!r}" for place, text in enumerate(choices[:_SHOWN]))
    more = " …" if len(choices) > _SHOWN else ""
    return f"its target {target!r} ({key}: {template}) is none of its choices: {shown}{more}"


def _require_metrics(task: Any, file: TaskFile, found: Mapping[str, Any]) -> None:
    """ConfigError (78) where a metric of the task gives nothing."""
    without = sorted({*task.aggregation()} - {*found})
    if without:
        raise ConfigError(
            f"{', '.join(without)} can't be measured with output_type {task.OUTPUT_TYPE}",
            where=str(file.path),
            todo=f"measured there: {', '.join(sorted(found)) or 'none of these'}",
        )


def _unfit(task: Any, file: TaskFile, problem: str) -> ConfigError:
    return ConfigError(
        f"its first row {problem}",
        where=str(file.path),
        todo="check doc_to_text, doc_to_target, doc_to_choice and metric_list against the row, whose "
        f"fields are: {', '.join(task.features)}",
    )


def _wrong_rows(task: Any, file: TaskFile, problems: list[str]) -> DataError:
    where = _data_file(task.config) or f"{file.path}: its data"
    lines = [f"{where}: {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"and {count_of(len(problems) - _SHOWN, 'more row')}")
    return DataError(
        "\n".join(lines),
        todo=f"correct these rows, or doc_to_target and doc_to_choice in {file.path}; rows count from 1",
    )


def _data_file(config: Any) -> str | None:
    """Return the one file that holds the rows in their order, None where that is not known."""
    files = (config.dataset_kwargs or {}).get("data_files")
    if isinstance(files, Mapping):
        files = files.get(config.test_split or config.validation_split)
    if isinstance(files, list) and len(files) == 1:
        (files,) = files
    plain = isinstance(files, str) and not any(mark in files for mark in "*?[")
    if not plain or config.process_docs is not None or config.dataset_path not in LOCAL_FORMATS:
        return None
    return str(files)


def reason(error: Exception) -> str:
    """Return the first line of an error, with its kind."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
