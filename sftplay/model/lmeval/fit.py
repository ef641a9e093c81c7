"""A task's keys against its data: splits, and fields that templates use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sftplay import console
from sftplay.errors import ConfigError, DataError
from sftplay.model.lmeval.faults import reason
from sftplay.task_data import LOCAL_FORMATS
from sftplay.task_file import TaskFile

_WORD = re.compile(r"\w+")
_PLAIN = re.compile(r"\{\{\s*(\w+)\s*\}\}")  # shows a field as it is
_CHOOSES = re.compile(r"\{%")  # it may show a field only where there is one
_TEMPLATES = (
    "description",
    "doc_to_text",
    "doc_to_choice",
    "doc_to_target",
    "gen_prefix",
    "doc_to_decontamination_query",
)


def place_of(file: TaskFile, config: Any, key: str = "") -> str:
    """Return where a file says something about a task: `file:line:column` of a key, or of a group
    the member's name.
    """
    if "group" in file.config:
        return f"{file.path}: task {config.task.rpartition('::')[2]}"
    return file.places.get(key, str(file.path))


def require_keys(config: Any, file: TaskFile) -> None:
    """Refuse a task without what every task of its kind needs.

    Args:
        config: lm-eval's, with what a group gives its members.

    Raises:
        ConfigError: everything that is missing (78).
    """
    problems = list(_missing(config))
    if problems:
        where = place_of(file, config)
        raise ConfigError(
            "\n".join(f"{where}: {problem}" for problem in problems), todo="add it to the task file"
        )


def _missing(config: Any) -> Iterator[str]:
    options = config.dataset_kwargs or {}
    if config.dataset_path is None and config.custom_dataset is None:
        yield "dataset_path is missing: json, csv, parquet, arrow, text, a folder, or a hub dataset"
    if config.dataset_path in LOCAL_FORMATS and not {"data_files", "data_dir"} & {*options}:
        yield "dataset_kwargs.data_files is missing: {test: FILE}"
    if config.test_split is None and config.validation_split is None:
        yield "test_split is missing: the split of its data that is asked"
    if config.use_prompt is not None:
        return
    for key in ("doc_to_text", "doc_to_target"):
        if getattr(config, key) is None:
            yield f"{key} is missing: a template ({{{{field}}}}) or a field's name"
    if config.output_type == "multiple_choice" and config.doc_to_choice is None:
        yield "doc_to_choice is missing: output_type multiple_choice requires it"


def require_splits(config: Any, dataset: Any, file: TaskFile) -> None:
    """Refuse splits that the data does not have.

    Raises:
        ConfigError: no such split (78). DataError: a split without rows (65).
    """
    problems = []
    for key, name in _splits(config):
        if name not in dataset:
            has = ", ".join(dataset)
            line = f"{place_of(file, config, key)}: {key}: its data has no split {name}, only {has}"
            problems.append(line)
        elif not len(dataset[name]):
            raise DataError(f"its split {name} has no rows", where=place_of(file, config, key))
    if problems:
        files = (config.dataset_kwargs or {}).get("data_files")
        named = isinstance(files, Mapping)
        raise ConfigError(
            "\n".join(problems),
            todo="name one of these"
            if named or files is None
            else "files without a split are the split train; to name them otherwise: data_files: "
            "{test: FILE}",
        )


def _splits(config: Any) -> Iterator[tuple[str, str]]:
    for key in ("test_split", "validation_split", "training_split", "fewshot_split"):
        if getattr(config, key) is not None:
            yield key, getattr(config, key)
    split = config.fewshot_config.split
    if split is not None and split != config.fewshot_split:
        yield "fewshot_config", split


def require_fields(config: Any, dataset: Any, file: TaskFile) -> None:
    """Refuse templates that the first row can't fill; warn about a word that is no field.

    Raises:
        ConfigError: a field that no row has, a template that can't be read (78).
    """
    examples = config.fewshot_config
    row = dataset[config.test_split or config.validation_split][0]
    parts = [(key, getattr(config, key), row) for key in _TEMPLATES]
    if config.num_fewshot and examples.process_docs is None:
        split = examples.split or config.training_split or config.validation_split
        shown = dataset[split or config.test_split][0]
        if examples.split is None and isinstance(examples.samples, list):
            shown = examples.samples[0]
        for key in ("doc_to_text", "doc_to_choice", "doc_to_target", "gen_prefix"):
            parts.append((f"fewshot_config.{key}", getattr(examples, key), shown))
    problems = {}
    for key, template, fields in parts:
        problem = _problem(template, fields)
        place = place_of(file, config, key.partition(".")[0])
        if problem and problem not in problems:
            problems[problem] = f"{place}: {key}: {problem}"
        elif key in ("doc_to_text", "doc_to_target") and _is_word(template, fields):
            console.warning(
                f"{place}: {key}: {template} is no field of the rows ({', '.join(fields)}): every row "
                "has this word itself there"
            )
    if problems:
        raise ConfigError(
            "\n".join(problems.values()),
            todo=f"the fields of its rows are: {', '.join(row)}",
        )


def _is_word(template: Any, row: Mapping[str, Any]) -> bool:
    """Return whether a template is one word that may be meant as a field's name."""
    found = isinstance(template, str) and template not in row and _WORD.fullmatch(template)
    return bool(found) and not template.isdigit()


def _problem(template: Any, row: Mapping[str, Any]) -> str:
    """Return why a template can't be filled from a row, empty where it can."""
    from jinja2 import TemplateSyntaxError, UndefinedError, meta
    from lm_eval import utils

    if not isinstance(template, str) or template in row:
        return ""
    try:
        utils.env.from_string(template).render(**row)
    except TemplateSyntaxError as error:
        return f"line {error.lineno} of its template: {error.message}"
    except Exception as error:  # noqa: BLE001 - a template may raise anything
        absent = meta.find_undeclared_variables(utils.env.parse(template)) - {*row}
        if isinstance(error, UndefinedError) and absent:
            return f"{', '.join(sorted(absent))} is no field of its rows"
        return f"can't be filled from the first row: {reason(error)}"
    return ""


def missing_field(doc: Mapping[str, Any], **templates: Any) -> str:
    """Return which field of a row is missing that a template shows."""
    for key, template in templates.items():
        if not isinstance(template, str) or _CHOOSES.search(template):
            continue
        for name in [template] if template in doc else _PLAIN.findall(template):
            if name in doc and doc[name] is None:
                return f"its field {name} ({key}) is missing"
    return ""
