"""Detection of a file's format, judged by the keys of its first rows, with the evidence in words."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

from sftplay.data.formats.conversation import ROLE_KEYS, TEXT_KEYS
from sftplay.data.formats.message_lists import as_messages, form_of
from sftplay.data.formats.reasoning import COLUMNS
from sftplay.data.formats.row_format import CONVERSATION, FIELDS, PAIRS, RowFormat
from sftplay.data.rejects import BadRowError
from sftplay.errors import ConfigError, DataError
from sftplay.settings import DataSettings, FieldMap

LOOKED_AT = 100  # rows
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


def decide(rows: Sequence[Any], settings: DataSettings, file: str) -> RowFormat:
    """Decide how a file is read.

    Args:
        rows: its first rows, parsed; at least one.
        settings: `format` and `fields` override what the rows look like.
        file: its name, for messages.

    Raises:
        DataError: no format fits, or columns asked for are not there (65). ConfigError:
            contradictory fields (78).
    """
    fields = _checked_fields(settings.fields, rows, file)
    if "messages" in fields or {"user", "assistant"} <= set(fields):
        said = ", ".join(f"{name} is `{key}`" for name, key in fields.items())
        shape = CONVERSATION if "messages" in fields else FIELDS
        named = replace(RowFormat("fields", shape, f"data.fields: {said}"), **_as_plan(fields))
        _refuse_values(rows, named, file)
        return replace(named, evidence=named.evidence + _form(rows, named))
    counts: Counter[RowFormat] = Counter()
    for row in rows:
        plan = next(
            (plan for plan in plans_for(row) if settings.format in ("auto", plan.format)), None
        )
        if plan is not None:
            counts[plan] += 1
    if not counts:
        raise _unknown_format(rows, settings.format, file)
    (plan, fitting), *rest = counts.most_common()
    others = "".join(f"; {count} look like {other.format}" for other, count in rest)
    forced = "" if settings.format == "auto" else ", as data.format says"
    plan_in_force = replace(plan, **_as_plan(fields))
    _refuse_values(rows, plan_in_force, file)
    what = f"{_describe(plan)}{_form(rows, plan)}"
    evidence = f"{fitting} of the first {len(rows)} rows have {what}{others}{forced}"
    return replace(plan_in_force, evidence=evidence)


def names_columns(record: Sequence[str]) -> bool:
    """Tell whether a record of a table is a header: its columns are those of a known format."""
    names = [name.strip().lower() for name in record]
    pairs = any(columns.user in names and columns.assistant in names for columns in _BY_COLUMNS)
    return all(names) and (pairs or any(name in names for name in MESSAGE_KEYS))


def _form(rows: Sequence[Any], plan: RowFormat) -> str:
    """Describe lists of messages that rows hold in another form than a list."""
    keys = [plan.messages] if plan.messages else [plan.user, plan.assistant]
    found = [[form_of(row.get(key)) for key in keys] for row in rows if type(row) is dict]
    forms = dict.fromkeys(forms[0] for forms in found if all(forms) and forms[0] != "list")
    return f", as {' and '.join(forms)}" if forms else ""


def _refuse_values(rows: Sequence[Any], plan: RowFormat, file: str) -> None:
    """Raise DataError (65) where a column of texts holds other values of a table's."""
    for key in filter(None, (plan.user, plan.assistant, plan.messages)):
        values = (row[key] for row in rows if type(row) is dict and row.get(key) is not None)
        what, todo = next(filter(None, map(_table_value, values)), ("", ""))
        if what:
            raise DataError(
                f"`{key}` holds {what}, not text", where=file, todo=todo.replace("KEY", key)
            )


_AS_TEXT = "write the column as text: df['KEY'] = df['KEY'].astype(str)"
_DECODE = "write the column as text: df['KEY'] = df['KEY'].str.decode('utf-8')"
_AS_MESSAGES = 'write each as a list of messages: [{"role": …, "content": …}, …]'


def _table_value(value: Any) -> tuple[str, str] | None:
    """Return what a value of a table is, and what to do about it; None where JSON has its kind."""
    if type(value) is bytes:
        return "bytes (a binary column)", _DECODE
    if type(value) is list and value and type(value[0]) is tuple:
        return "maps (lists of key and value)", _AS_MESSAGES
    if isinstance(value, date):
        return "dates", _AS_TEXT
    return ("numbers", _AS_TEXT) if isinstance(value, Decimal) else None


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


def _describe(plan: RowFormat) -> str:
    if plan.shape == PAIRS:
        return "a list of two: what the user says, and the answer"
    if plan.shape == CONVERSATION:
        keys = "role/content" if plan.format == "messages" else "from/value"
        return (
            f"`{plan.messages}`, a list of {keys}" if plan.messages else f"a list of {keys} itself"
        )
    return f"`{plan.user}` and `{plan.assistant}`"


def _checked_fields(given: FieldMap | None, rows: Sequence[Any], file: str) -> dict[str, str]:
    fields: dict[str, str] = given.model_dump(exclude_none=True) if given else {}
    if "messages" in fields and {"user", "input", "assistant"} & set(fields):
        raise ConfigError(
            "data.fields: `messages` stands for user, input and assistant: give one or the others"
        )
    columns = _columns(rows)
    for name, key in fields.items():
        if key not in columns:
            close = difflib.get_close_matches(key, columns, n=1)
            raise DataError(
                f"no row has `{key}` (data.fields.{name}); the columns are {_listed(columns)}",
                where=file,
                todo=f"did you mean `{close[0]}`?" if close else f"set {_example(rows)}",
            )
    return fields


def _as_plan(fields: dict[str, str]) -> dict[str, Any]:
    plan: dict[str, Any] = {
        name: key for name, key in fields.items() if name not in ("input", "tools")
    }
    lists = {"extra": fields.get("input"), "tools": fields.get("tools")}
    return plan | {name: (key,) for name, key in lists.items() if key}


def _unknown_format(rows: Sequence[Any], format_name: str, file: str) -> DataError:
    columns = _columns(rows)
    known = [name for name in FieldMap.model_fields if name in columns]
    hint = f"; {', '.join(known)} alone is not enough" if known else ""
    seen = (
        f"the columns are {_listed(columns)}{hint}"
        if columns
        else f"a row is {str(rows[0])[:60]!r}"
    )
    what = (
        "no known row format"
        if format_name == "auto"
        else f"no row is in the format {format_name} (data.format)"
    )
    return DataError(
        f"{what}: {seen}", where=file, todo=f"say which column holds what, by {_example(rows)}"
    )


def _example(rows: Sequence[Any]) -> str:
    """Return how to name columns, by two of the file's own that hold text."""
    first = next((row for row in rows if type(row) is dict), {})
    texts = [str(key) for key in first if type(first[key]) is str][:2]
    user, assistant = texts if len(texts) == 2 else ("QUESTION", "ANSWER")
    words = (f"data.fields.user={user}", f"data.fields.assistant={assistant}")
    return f"data.fields, for example {' '.join(f'--set {shlex.quote(word)}' for word in words)}"


def _columns(rows: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(key for row in rows if type(row) is dict for key in row))


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(f"`{name[:40]}`" for name in columns[:12])
    return f"{shown} and {len(columns) - 12} more" if len(columns) > 12 else shown or "none"
