"""Files that somebody else could have written: read with limits.

A container writes into a run's folder and into data folders; a model's folder comes from strangers.
What lies there may be a pipe, a link to a device or to another file of the user, JSON that is deep
or huge, or a list where an object belongs. All of that becomes one error that names the file.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sftplay.errors import DataError, StorageError
from sftplay.files import human_size, open_regular

RECORD = 16_000_000  # bytes of a JSON record
LINES = 64_000_000  # bytes of a file of JSON lines
MODEL = 256_000_000  # bytes of a JSON file of a model; the largest tokenizer.json known has 35 MB
TEMPLATE = 1_000_000  # bytes of a chat template; the largest that is known has 30,000
MAX_DEPTH = 100
MAX_DIGITS = 40  # transformers writes "no limit" as an integer of 31 digits
DAMAGED = "the file is damaged: restore it, or delete it"
AGAIN = "fetch or copy the model again (inv fetch, for a model of the hub)"

_LONG = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")
_LARGE = re.compile(r"[eE]\+?[0-9]{3}")  # 1e999 is read as infinity
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(path: Path, limit: int = RECORD, *, links: bool = False) -> bytes:
    """Read a whole file of at most `limit` bytes.

    Raises:
        StorageError: larger, or not a regular file (74). Others as `open_regular`.
    """
    with open_regular(path, links=links) as source:
        content = source.read(limit + 1)
    if len(content) > limit:
        raise StorageError(
            f"larger than {human_size(limit)}: not a file that sftplay wrote",
            where=str(path),
            todo="look at it, and remove it",
        )
    return content


def read_text(path: Path, limit: int = RECORD, *, links: bool = False) -> str:
    """Read a whole UTF-8 file.

    Raises:
        StorageError: not UTF-8 (74). Others as `read_bytes`.
    """
    try:
        return read_bytes(path, limit, links=links).decode("utf-8")
    except UnicodeDecodeError as error:
        raise StorageError(
            f"not UTF-8 (byte {error.start})", where=str(path), todo=DAMAGED
        ) from error


def read_template(path: Path) -> str:
    """Read a chat template; it is checked where it is used.

    Raises:
        DataError: not UTF-8, or too large for one (65). Others as `open_regular`.
    """
    try:
        with open_regular(path, links=True) as source:
            content = source.read(TEMPLATE + 1)
        if len(content) > TEMPLATE:
            raise DataError("too large for a chat template", where=str(path), todo=AGAIN)
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the chat template is not UTF-8 (byte {error.start})", where=str(path), todo=AGAIN
        ) from error


def read_tail(path: Path, size: int) -> bytes:
    """Read at most the last `size` bytes of a file."""
    with open_regular(path) as source:
        source.seek(max(0, source.seek(0, os.SEEK_END) - size))
        return source.read(size)


def read_lines(path: Path, limit: int = LINES) -> Iterator[bytes]:
    """Yield the lines of a file; those beyond `limit` bytes are not read.

    Raises:
        StorageError: larger (74), after the lines up to there. Others as `open_regular`.
    """
    with open_regular(path) as source:
        left = limit
        while line := source.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise StorageError(
                    f"larger than {human_size(limit)}: the rest is not read", where=str(path)
                )
            yield line


def read_json(path: Path, **required: type | tuple[type, ...]) -> dict[str, Any]:
    """Read a JSON object that sftplay wrote.

    Args:
        required: fields that it must have, with their types.

    Raises:
        NotFoundError: no such file (66). StorageError: damaged (74).
    """
    value = _object(path, read_bytes(path), DAMAGED, exact=True)
    for name, kind in required.items():
        if not isinstance(value.get(name), kind):
            raise StorageError(
                f"damaged: its field {name} is missing, or not what sftplay writes there",
                where=str(path),
                todo=DAMAGED,
            )
    return value


def read_model_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model's folder. Links are followed: the hub's cache is made of them.

    Raises:
        NotFoundError: no such file (66). StorageError: cut, empty, a web page, a list … (74).
    """
    return _object(path, read_bytes(path, MODEL, links=True), AGAIN, exact=False)


def _object(path: Path, content: bytes, todo: str, *, exact: bool) -> dict[str, Any]:
    try:
        value = parse_json(content, exact=exact)
    except ValueError as error:
        raise StorageError(
            f"not valid JSON ({_why(content, error)})", where=str(path), todo=todo
        ) from error
    if not isinstance(value, dict):
        raise StorageError(
            f"a JSON {'list' if isinstance(value, list) else 'value'}, where an object belongs",
            where=str(path),
            todo=todo,
        )
    return value


def _why(content: bytes, error: ValueError) -> str:
    start = content[:200].lstrip()[:9].lower()
    if not content.strip():
        return "the file is empty"
    return "it is a web page" if start.startswith((b"<!doctype", b"<html")) else str(error)[:200]


def parse_json(content: bytes, *, exact: bool = True) -> Any:
    """Parse JSON of bounded depth, with numbers of bounded length and text that UTF-8 can hold.

    Args:
        exact: refuse NaN, Infinity and numbers that are read as such; model files have them.

    Raises:
        ValueError: not such JSON.
    """
    text = content.decode("utf-8")
    hooks: dict[str, Any] = {"parse_int": _short_integer} if _LONG.search(text) else {}
    if exact:
        hooks["parse_constant"] = _no_constant
        if _LARGE.search(text):
            hooks["parse_float"] = _finite
    try:
        value = json.loads(text, **hooks)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = [node for node in level if isinstance(node, (dict, list)) and node]
        if not inner:
            return
        level = [
            child for node in inner for child in (node.values() if isinstance(node, dict) else node)
        ]
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _short_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
