"""Reasons why the datasets library can't read a task's data, found by our own readers: file, line and what
is wrong there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay.data.readers.pieces import read_pieces
from sftplay.data.readers.sources import RawFile
from sftplay.data.readers.stream import open_source
from sftplay.data.rejects import Reject
from sftplay.errors import ConfigError, DataError, SftplayError
from sftplay.library_errors import explain_library_error
from sftplay.rawdata import kind_of
from sftplay.task_data import LOCAL_FORMATS, data_files
from sftplay.task_file import TaskFile

_UNKNOWN_OPTION = re.compile(r"unexpected keyword argument '(\w+)'")
_MOST = 5  # lines in a message
_ADVICE = "correct the file, or name another one in {}"


def explain(error: Exception, config: Any, file: TaskFile) -> SftplayError:
    """Return the error that stands for what the datasets library raised.

    Args:
        config: lm-eval's config of the task.
    """
    option = _UNKNOWN_OPTION.search(str(error))
    if option and option[1] in (config.dataset_kwargs or {}):
        return ConfigError(
            f"dataset_kwargs.{option[1]}: no option of the format {config.dataset_path}",
            where=str(file.path),
            todo="remove it",
        )
    part = {"dataset_path": config.dataset_path, "dataset_kwargs": config.dataset_kwargs}
    for path in data_files(part, file.path):
        kind = kind_of(path).replace("lines", "json")
        if (
            kind in LOCAL_FORMATS
            and kind != config.dataset_path
            and config.dataset_path in LOCAL_FORMATS
        ):
            return ConfigError(
                f"dataset_path: {config.dataset_path}, but {path} is a {kind} file by its name",
                where=str(file.path),
                todo=f"dataset_path: {kind}",
            )
        try:
            problems = _problems(
                path, config.dataset_path, (config.dataset_kwargs or {}).get("field")
            )
        except SftplayError as found:
            found.todo = found.todo or _ADVICE.format(file.path)
            return found
        if problems:
            return DataError("\n".join(problems), todo=_ADVICE.format(file.path))
    said = reason(_innermost(error))
    if others := [*(config.dataset_kwargs or {}).keys() - {"data_files", "data_dir"}]:
        return ConfigError(
            f"dataset_kwargs: its data can't be read with {', '.join(sorted(others))}: {said}",
            where=str(file.path),
            todo="correct or remove these options; they are those of the datasets library",
        )
    known = explain_library_error(error, file.path)
    return known or DataError(
        f"its data can't be read: {said}", where=str(file.path), todo=_ADVICE.format(file.path)
    )


def _problems(path: Path, builder: str, key: str | None) -> list[str]:
    """Return lines about what is wrong in a file, empty where our readers find nothing.

    Raises:
        DataError: the file as a whole can't be read (65).
    """
    if builder not in LOCAL_FORMATS or builder == "text" or not path.is_file():
        return []
    kind = _kind_of_json(path) if builder == "json" else builder
    rejects: list[Reject] = []
    found, count = [], 0
    for piece in read_pieces(RawFile(path, kind, str(path)), {}):
        for line, _, row in piece.parsed(rejects, str(path)):
            count += 1
            if not isinstance(row, Mapping):
                found.append(f"{path}:{line}: the row is no object ({{…}})")
        if len(rejects) + len(found) > _MOST:
            break
    if key is not None and count:
        return []
    lines = [reject.describe(str(path)) for reject in rejects] + found
    if not lines and not count:
        return [f"{path}: the file has no rows"]
    return lines[:_MOST]


def _kind_of_json(path: Path) -> str:
    """Return whether a file is one JSON array or one row a line, as the datasets library tells."""
    with open_source(path, str(path)) as source:
        return "json" if source.head.lstrip().startswith(b"[") else "lines"


def _innermost(error: BaseException) -> BaseException:
    """Return the first of a chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def reason(error: BaseException) -> str:
    """Return what an error of a library says, in one line, without its kind."""
    said = " ".join(str(error).split())[:300]
    return f"{said} is missing" if isinstance(error, KeyError) else said or "no reason is given"
