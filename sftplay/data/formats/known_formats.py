"""The row formats that are known, told by the keys of a row or the columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sftplay.data.formats.conversation import ROLE_KEYS, TEXT_KEYS
from sftplay.data.formats.message_lists import as_messages, form_of
from sftplay.data.formats.reasoning import COLUMNS
from sftplay.data.formats.row_format import CONVERSATION, FIELDS, PAIRS, RowFormat
from sftplay.data.rejects import BadRowError

MESSAGE_KEYS = ("messages", "conversations", "conversation", "dialogue", "dialog")
SYSTEM_KEYS = ("system", "system_prompt")
TOOLS_KEYS = ("tools", "functions", "tool_defs")
HISTORY_KEY, CONTEXT_KEY = "history", "context"


@dataclass(frozen=True)
class _Columns:
    """A format of named texts: a row is in it where it has both `user` and `assistant`."""

    format: str
    user: str
    assistant: str
    extra: tuple[str, ...] = (CONTEXT_KEY,)


_BY_COLUMNS = (
    _Columns("sftplay", "user", "assistant"),
    _Columns("alpaca", "instruction", "output", ("input", CONTEXT_KEY)),
    _Columns(
        "alpaca", "instruction", "response", ("input", CONTEXT_KEY)
    ),  # dolly's names for the same
    _Columns("prompt_completion", "prompt", "completion"),
    _Columns("prompt_completion", "prompt", "response"),
    _Columns("question_answer", "question", "answer"),
    _Columns("question_answer", "question", "response"),
    _Columns("question_answer", "query", "response"),
)


def plans_for(row: Any) -> Iterator[RowFormat]:
    """Yield every format whose keys the row has, most telling first."""
    if type(row) is list:
        if row and all(type(item) is dict for item in row) and _dialect(row):
            yield RowFormat(_dialect(row), CONVERSATION)
        elif len(row) == 2:
            yield RowFormat("pairs", PAIRS)
        return
    if type(row) is not dict:
        return
    names = {key.lower(): key for key in reversed(row)}
    shared: dict[str, Any] = {
        "system": next((names[name] for name in SYSTEM_KEYS if name in names), SYSTEM_KEYS[0]),
        "tools": tuple(names.get(name, name) for name in TOOLS_KEYS),
    }
    for name in MESSAGE_KEYS:
        key = names.get(name, "")
        if key and form_of(row[key]):
            dialect = _dialect(_shown(row[key])) or "messages"
            yield RowFormat(dialect, CONVERSATION, messages=key, **shared)
    for columns in _BY_COLUMNS:
        if columns.user in names and columns.assistant in names:
            yield RowFormat(
                columns.format,
                FIELDS,
                user=names[columns.user],
                assistant=names[columns.assistant],
                extra=tuple(names.get(name, name) for name in columns.extra),
                history=names.get(HISTORY_KEY, HISTORY_KEY),
                reasoning=next((names[name] for name in COLUMNS if name in names), COLUMNS[0]),
                **shared,
            )


def names_columns(record: Sequence[str]) -> bool:
    """Tell whether a record of a table is a header: its columns are those of a known format."""
    names = [name.strip().lower() for name in record]
    pairs = any(columns.user in names and columns.assistant in names for columns in _BY_COLUMNS)
    return all(names) and (pairs or any(name in names for name in MESSAGE_KEYS))


def _shown(value: Any) -> list[Any]:
    try:
        items = as_messages(value)
    except BadRowError:
        return []  # reported for each row
    return items if type(items) is list else []


def _dialect(items: list[Any]) -> str:
    """Return `messages` (OpenAI: role, content) or `sharegpt` (from, value), by the first message;
    empty where it is neither.
    """
    first = items[0] if items and type(items[0]) is dict else {}
    for name, role, text in zip(("messages", "sharegpt"), ROLE_KEYS, TEXT_KEYS, strict=True):
        if role in first and (text in first or "tool_calls" in first):
            return name
    return ""
