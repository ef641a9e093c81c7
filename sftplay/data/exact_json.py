"""JSON with the numbers as they were written: `10.50` stays `10.50`, and an integer of 25 digits
keeps them all.

Arguments of tool calls are trained text by text, so a number may not change on its way through the
stages.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import orjson

# In JSON text: a number that may read otherwise once it was parsed. Digits in a text match too,
# which costs a second look.
_SPECIAL_NUMBER = re.compile(rb"[:\[,\s]-?[0-9]+[.eE]|[0-9]{16}|[:\[,\s]-0")


class ExactNumber(float):
    """A number that is written as it was read. It counts as its nearest float."""

    def __new__(cls, text: str) -> ExactNumber:
        self = super().__new__(cls, text)
        self.text = text
        return self

    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return super().__format__(spec) if spec else self.text

    def __reduce__(self) -> tuple[type[ExactNumber], tuple[str]]:
        return ExactNumber, (self.text,)


def may_have_special_numbers(content: bytes) -> bool:
    """Tell whether a JSON text may hold a number that orjson would not write back as it stands."""
    return _SPECIAL_NUMBER.search(content) is not None


def loads(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse JSON; numbers that Python would write otherwise become ExactNumber.

    Raises:
        ValueError: not JSON, NaN, Infinity and 1e999 included. RecursionError: nested too deeply.
    """
    return json.loads(
        text, parse_float=_float, parse_int=_int, parse_constant=_refuse, object_pairs_hook=pairs
    )


def dumps(value: Any, *, newline: bool = False) -> bytes:
    """Write compact JSON.

    Raises:
        TypeError: a value that JSON has no form for.
    """
    newline_option = orjson.OPT_APPEND_NEWLINE if newline else 0
    return orjson.dumps(
        value, default=_fragment, option=orjson.OPT_PASSTHROUGH_DATETIME | newline_option
    )


def pretty(value: Any, **options: Any) -> str:
    """Do what json.dumps does, with its options, for values with exact numbers."""
    if not has_exact(value):
        return json.dumps(value, **options)
    mark = "number:"
    while mark in json.dumps(value):
        mark += ":"
    numbers: list[str] = []
    text = json.dumps(_marked(value, mark, numbers), **options)
    return re.sub(f'"{mark}([0-9]+)"', lambda found: numbers[int(found[1])], text)


def has_exact(value: Any) -> bool:
    """Tell whether an exact number stands anywhere in a value."""
    if isinstance(value, dict):
        return any(map(has_exact, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_exact, value))
    return type(value) is ExactNumber


def _marked(value: Any, mark: str, numbers: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _marked(item, mark, numbers) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item, mark, numbers) for item in value]
    if type(value) is ExactNumber:
        numbers.append(value.text)
        return f"{mark}{len(numbers) - 1}"
    return value


def _float(text: str) -> float:
    number = ExactNumber(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is larger than any number of a computer")
    plain = float(text)
    return plain if repr(plain) == text and "e" not in text else number


def _int(text: str) -> int | float:
    if len(text) < 18 and str(number := int(text)) == text:
        return number
    return _float(text)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON: write null")


def _fragment(value: Any) -> orjson.Fragment:
    if type(value) is ExactNumber:
        return orjson.Fragment(value.text)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
