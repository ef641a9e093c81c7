"""A line of a processed file as a row, checked: people edit these files."""

from __future__ import annotations

from typing import Any

import orjson

from sftplay.data import exact_json
from sftplay.data.findings import Findings
from sftplay.data.formats.row_format import TEMPLATE_KWARGS
from sftplay.data.formats.template_kwargs import RESERVED
from sftplay.data.formats.unused_keys import unused_key
from sftplay.errors import DataError

_KEYS = frozenset({"messages", "tools", "id", TEMPLATE_KWARGS})
_ADVICE = 'a row is {"messages": [{"role": …, "content": …}, …], "id": …}; `process` makes them'
_EXACT = (b'"tool_calls"', b'"tools"', TEMPLATE_KWARGS.encode())


def read_row(line: bytes, findings: Findings) -> dict[str, Any]:
    """Return a processed row; keys that nobody reads are counted.

    Raises:
        DataError: not JSON, or not a row (65).
    """
    try:
        row = orjson.loads(line)
        if any(key in line for key in _EXACT) and exact_json.may_have_special_numbers(line):
            row = exact_json.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"not valid JSON (column {error.colno}: {error.msg})", todo=_ADVICE
        ) from error
    if (
        not isinstance(row, dict)
        or not isinstance(row.get("id"), str)
        or not isinstance(row.get("messages"), list)
    ):
        raise DataError("not a processed row: id or messages are missing", todo=_ADVICE)
    for message in row["messages"]:
        if not (
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str | None)
        ):
            raise DataError(
                "not a processed row: a message needs a role and text as content", todo=_ADVICE
            )
    if not isinstance(row.get("tools"), list | None):
        raise DataError("not a processed row: `tools` must be a list", todo=_ADVICE)
    given = row.get(TEMPLATE_KWARGS) or {}
    if not isinstance(given, dict) or RESERVED & given.keys():
        raise DataError(
            f"not a processed row: `{TEMPLATE_KWARGS}` must be an object of the template's own names",
            todo=_ADVICE,
        )
    for key in row.keys() - _KEYS:
        findings.add(unused_key(key), row["id"])
    return row
