"""Values of tables (Arrow) and parsers as JSON has them: what JSON has no form for is refused by
name, never written otherwise.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from sftplay.data.exact_json import ExactNumber
from sftplay.data.rejects import BadRowError

_64_BITS = 1 << 63


def json_value(value: Any, what: str) -> Any:
    """Return a value with nothing in it but what JSON has; decimals keep their digits, maps become
    objects.

    Raises:
        BadRowError: NaN, bytes, a date and so on; `what` names where.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is ExactNumber:
        return value
    if kind is int:
        return value if -_64_BITS <= value < _64_BITS else ExactNumber(str(value))
    if kind is float or kind is Decimal:
        if not math.isfinite(value):
            raise BadRowError("a number that JSON does not have", f"{value} in {what}: write null")
        return ExactNumber(str(value)) if kind is Decimal else value
    if kind is dict:
        return {_key(key, what): json_value(item, what) for key, item in value.items()}
    if kind is list and value and all(type(item) is tuple and len(item) == 2 for item in value):
        return {_key(key, what): json_value(item, what) for key, item in value}  # an Arrow map
    if kind is list:
        return [json_value(item, what) for item in value]
    raise BadRowError(
        "a value that JSON does not have", f"a {kind.__name__} in {what}: write it as text"
    )


def _key(key: Any, what: str) -> str:
    if type(key) is not str:
        raise BadRowError("a value that JSON does not have", f"a key that is no text in {what}")
    return key


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs, for a parser's hook.

    Raises:
        BadRowError: a key stands twice.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRowError("a key stands twice", f"`{twice}`: which one counts?")
    return result
