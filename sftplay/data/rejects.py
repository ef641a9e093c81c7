"""A bad row: where it stands, why it was set aside, and the row itself.

One JSON line each in rejects.jsonl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

KEPT_BYTES = 1000  # of a row that is too long to be kept whole


class BadRowError(Exception):
    """Raised where a row turns out to be bad; never leaves the stage.

    Args:
        reason: one of a few fixed sentences: rejects are counted by it.
        detail: what is special about this row.
        column: 1-based, in the row's first line, where a parser gave one.
    """

    def __init__(self, reason: str, detail: str = "", column: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.column = reason, detail, column


@dataclass(frozen=True, slots=True)
class Reject:
    """A bad row.

    Attributes:
        line: line of its file where it begins, from 1 (row number in a parquet file).
        row: the row as JSON; text that is not JSON as a JSON string.
    """

    line: int
    reason: str
    detail: str
    column: int | None
    row: bytes

    def to_json(self, file: str) -> bytes:
        """Return its line in rejects.jsonl, newline included."""
        entry: dict[str, Any] = {"file": file, "line": self.line, "reason": self.reason}
        if self.column is not None:
            entry["column"] = self.column
        if self.detail:
            entry["detail"] = self.detail
        entry["row"] = orjson.Fragment(self.row)
        return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)

    def place(self, file: str) -> str:
        """Return `file:line:column`."""
        return f"{file}:{self.line}" if self.column is None else f"{file}:{self.line}:{self.column}"

    def describe(self, file: str) -> str:
        """Return `file:line:column: reason (detail)`, for a person."""
        return f"{self.place(file)}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


def reject(line: int, bad: BadRowError, raw: bytes | None, value: Any = None) -> Reject:
    """Make a reject of a row: `raw` is its text (None for rows of tables), `value` the row where it
    could be parsed.
    """
    if raw is None:
        row = orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS)
    elif value is not None:
        row = raw.strip()  # valid JSON: as it stands, big numbers and duplicate keys included
        row = row if b"\n" not in row else orjson.dumps(value)
    else:
        row = orjson.dumps(raw.decode("utf-8", "backslashreplace"))
    return Reject(line, bad.reason, bad.detail, bad.column, row)
