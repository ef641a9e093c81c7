"""Tables written as JSON: a header row above lists of values, and the forms of pandas' `to_json`
(orient: split, columns, index).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from sftplay.data import exact_json
from sftplay.data.formats.known_formats import names_columns, plans_for


def header_of(row: bytes) -> list[str] | None:
    """Return the columns that a list of texts names, where a known format has them; else None."""
    value = _texts(row)
    return value if value and len(value) > 1 and names_columns(value) else None


def columns_of(members: Mapping[bytes, bytes]) -> list[str] | None:
    """Return the columns of a table in pandas' orient=split, given the members of its object; else
    None.
    """
    return _texts(members.get(b'"columns"', b"null")) or None


def _texts(row: bytes) -> list[str] | None:
    try:
        value = orjson.loads(row)
    except orjson.JSONDecodeError:
        return None
    return value if type(value) is list and all(type(item) is str for item in value) else None


def named(row: bytes, columns: Sequence[str]) -> bytes:
    """Return a list of values as an object of these columns; any other row as it is."""
    values = _parsed(row)
    if type(values) is not list or len(values) != len(columns):
        return row
    return exact_json.dumps(dict(zip(columns, values, strict=True)))


def table_rows(row: bytes) -> tuple[str, list[bytes]]:
    """Return (orient, rows) of an object that is a whole table of pandas; an empty orient for any
    other one.
    """
    value = _parsed(row)
    if type(value) is not dict or not value or any(type(x) is not dict for x in value.values()):
        return "", []
    parts: list[dict[str, Any]] = list(value.values())
    labels = list(parts[0])
    if not labels or any(list(part) != labels for part in parts[1:]):
        return "", []
    if _are_numbered(labels) or _is_row({name: value[name][labels[0]] for name in value}):
        rows = ({name: value[name][label] for name in value} for label in labels)
        return "columns", [exact_json.dumps(row) for row in rows]
    if _are_numbered(list(value)) or _is_row(parts[0]):
        return "index", [exact_json.dumps(row) for row in parts]
    return "", []


def _are_numbered(names: list[str]) -> bool:
    """Tell whether names are pandas' default row labels, 0, 1 and so on."""
    return all(name == str(number) for number, name in enumerate(names))


def _is_row(value: dict[str, Any]) -> bool:
    return next(plans_for(value), None) is not None


def _parsed(row: bytes) -> Any:
    """Return a parsed row; None where it is broken, which is reported where rows are parsed."""
    try:
        exact = exact_json.may_have_special_numbers(row)
        return exact_json.loads(row) if exact else orjson.loads(row)
    except (ValueError, RecursionError):
        return None
