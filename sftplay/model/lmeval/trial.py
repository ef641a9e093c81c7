"""Rows of a task file, each tried with a made-up response: what can't be scored is refused before the
model is loaded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from itertools import islice
from typing import Any

from sftplay.console import count_of
from sftplay.data.progress import progress
from sftplay.errors import ConfigError, DataError, SftplayError
from sftplay.model.lmeval.faults import reason
from sftplay.model.lmeval.fit import missing_field, place_of
from sftplay.model.lmeval.usable import require_usable
from sftplay.task_data import LOCAL_FORMATS
from sftplay.task_file import TaskFile

_LIKELIHOOD = (-1.0, False)  # a response: log-likelihood, and whether it is the greedy one
_GIVEN: dict[str, Any] = {"loglikelihood": _LIKELIHOOD, "loglikelihood_rolling": -1.0}
_SHOWN = 5  # rows in a message


def try_rows(task: Any, file: TaskFile, limit: int | None) -> None:
    """Make the request of every row that will be asked, and score a made-up response to it.

    Raises:
        ConfigError: no row can be scored, a metric of the task gives nothing, or its examples,
            filters or generation_kwargs can't be used (78). DataError: a row can't be scored, or no
            answer to it could be right (65).
    """
    if task.config.process_results is not None:
        return
    count = int(min(len(task.eval_docs), limit or math.inf))
    problems: list[str] = []
    good: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
    with progress(count, "row", f"checking {file.name}") as bar:
        for number, doc in enumerate(islice(task.eval_docs, limit), start=1):
            try:
                problem = wrong_row(task, doc)
                found = {} if problem else _score(task, doc)
            except Exception as error:  # noqa: BLE001 - templates and metrics may raise anything
                problem = f"can't be scored: {reason(error)}"
            if problem:
                problems.append(f"row {number:,}: {problem}")
            elif good is None:
                good = doc, found
            bar.advance()
    if problems:
        raise _wrong_rows(task, file, problems, count)
    if good is not None:
        require_usable(task, file, good[0])
        _require_metrics(task, file, good[1])


def _score(task: Any, doc: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return lm-eval's scores of a made-up response."""
    context = task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))
    requests = task.construct_requests(doc=doc, ctx=context, metadata=(task.config.task, 0, 1))
    given = [_GIVEN.get(task.OUTPUT_TYPE, "x")]
    if task.OUTPUT_TYPE == "multiple_choice":
        given = [_LIKELIHOOD] * len(requests)
    found: Mapping[str, Any] = task.process_results(doc, given)
    return found


def wrong_row(task: Any, doc: Mapping[str, Any]) -> str:
    """Return what is wrong with a row, empty if an answer to it could be right. lm-eval counts such
    a row as a wrong answer of every model, or fails on it after many answers.
    """
    missing = missing_field(doc, doc_to_text=task.config.doc_to_text)
    return missing or wrong_choices(task, doc) or wrong_target(task, doc)


def wrong_choices(task: Any, doc: Mapping[str, Any]) -> str:
    """Return what is wrong with a row's choices."""
    template = task.config.doc_to_choice
    if template is None:
        return ""
    if missing := missing_field(doc, doc_to_choice=template):
        return missing
    try:
        choices = task.doc_to_choice(doc)
    except (ValueError, SyntaxError):
        return f"doc_to_choice ({template}) gives no list of texts"
    if not isinstance(choices, (list, tuple)):
        return f"its choices (doc_to_choice: {template}) are no list: {str(choices)[:60]!r}"
    if not choices or not all(isinstance(one, str) and one for one in choices):
        return f"its choices (doc_to_choice: {template}) are not texts: {str(choices)[:60]}"
    return ""


def wrong_target(task: Any, doc: Mapping[str, Any]) -> str:
    """Return what is wrong with a row's target."""
    key = "doc_to_text" if task.multiple_input else "doc_to_target"
    template = getattr(task.config, key)
    if missing := missing_field(doc, **{key: template}):
        return missing
    if task.OUTPUT_TYPE.startswith("loglikelihood"):
        target = task.doc_to_target(doc)
        text = isinstance(target, str)
        return "" if text else f"its target {target!r} (doc_to_target: {template}) is no text"
    if task.config.doc_to_choice is None:
        return ""
    choices, target = list(task.doc_to_choice(doc)), getattr(task, key)(doc)
    each = target if isinstance(target, list) else [target]
    if each and all(
        one in choices if isinstance(one, str) else isinstance(one, int) and 0 <= one < len(choices)
        for one in each
    ):
        return ""
    shown = ", ".join(f"{place} {text!r}" for place, text in enumerate(choices[:_SHOWN]))
    more = " …" if len(choices) > _SHOWN else ""
    return f"its target {target!r} ({key}: {template}) is none of its choices: {shown}{more}"


def _require_metrics(task: Any, file: TaskFile, found: Mapping[str, Any]) -> None:
    """ConfigError (78) where a metric of the task gives nothing, or what its aggregation can't use."""
    without = sorted({*task.aggregation()} - {*found})
    if without:
        raise ConfigError(
            f"{', '.join(without)} can't be measured with output_type {task.OUTPUT_TYPE}",
            where=str(file.path),
            todo=f"measured there: {', '.join(sorted(found)) or 'none of these'}",
        )
    for name, aggregate in {} if file.has_functions else task.aggregation().items():
        try:
            with warnings.catch_warnings(action="ignore"):  # about rows that are all alike
                aggregate([found[name]] * 2)
        except Exception as error:
            raise ConfigError(
                f"metric_list: {name} can't be aggregated by {aggregate.__name__}: {reason(error)}",
                where=place_of(file, task.config, "metric_list"),
                todo="leave aggregation out: lm-eval takes the metric's own",
            ) from error


def _wrong_rows(task: Any, file: TaskFile, problems: list[str], count: int) -> SftplayError:
    """Return the error for rows that are wrong: if all are, the task file does not fit them."""
    name = _data_file(task.config)
    where = name or f"{file.path}: its data"
    if len(problems) == count > 1:
        return ConfigError(
            f"none of its {count_of(count)} can be scored; {problems[0]}",
            where=str(file.path),
            todo="check doc_to_text, doc_to_target, doc_to_choice and metric_list against the rows, "
            f"whose fields are: {', '.join(task.features)}",
        )
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
