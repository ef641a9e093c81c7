"""Detection of a file's format, judged by the keys of its first rows, with the evidence in words."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from sftplay.data.formats.known_formats import plans_for
from sftplay.data.formats.message_lists import form_of
from sftplay.data.formats.row_format import CONVERSATION, FIELDS, PAIRS, RowFormat
from sftplay.errors import ConfigError, DataError
from sftplay.settings import DataSettings, FieldMap

LOOKED_AT = 100  # rows


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
