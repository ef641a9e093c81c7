"""Rows of named texts: user and assistant, alpaca, question and answer, prompt and completion, and pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sftplay.data.formats.conversation import check_turns, kind_of, read_messages, read_text
from sftplay.data.formats.row_format import CONVERSATION, PAIRS, Message, RowFormat
from sftplay.data.rejects import BadRowError

Dropped = dict[str, int]
Fixed = list[str] | None  # what was done to turns out of order; None: they are refused
ToMessages = Callable[[Any, Dropped, Fixed], list[Message]]
ANSWER_KEYS = ("answer", "assistant", "response", "output", "completion", "content", "text", "value")
ASK_KEYS = ("user", "question", "prompt", "instruction", "content", "text", "value")


def converter(plan: RowFormat) -> ToMessages:
    """The function that turns a parsed row of this plan into messages; it raises BadRowError."""
    if plan.shape == PAIRS:
        return _from_pair
    if plan.shape == CONVERSATION:
        return _conversation(plan)
    return _fields(plan)


def _fields(plan: RowFormat) -> ToMessages:
    user, assistant, system, extra, known = plan.user, plan.assistant, plan.system, plan.extra, plan.known

    def to_messages(row: Any, dropped: Dropped, fixed: Fixed = None) -> list[Message]:
        if type(row) is not dict:
            raise BadRowError("not an object", f"it is {kind_of(row)}")
        if len(row) > len(known) or not row.keys() <= known:
            count_others(row, known, dropped)
        ask, answer = row.get(user), row.get(assistant)
        if type(ask) is not str or type(answer) is not str:
            if type(ask) is list or type(answer) is list:
                return _joined(row, plan, dropped, fixed)
            ask, answer = _text(row, user, "user text"), _text(row, assistant, "assistant text")
        if not answer.strip():
            raise BadRowError("empty answer", f"`{assistant}` is empty")
        if extra and row.get(extra):
            more = read_text(row[extra], f"`{extra}`")
            ask = f"{ask}\n\n{more}" if ask and more.strip() else ask or more
        if not ask.strip():
            raise BadRowError("empty user text", f"`{user}` is empty")
        turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        return _with_system(turns, row.get(system) if system else None)

    return to_messages


def _conversation(plan: RowFormat) -> ToMessages:
    key, system, known = plan.messages, plan.system, plan.known

    def to_messages(row: Any, dropped: Dropped, fixed: Fixed = None) -> list[Message]:
        if not key:
            return read_messages(row, dropped, fixed)
        if type(row) is not dict:
            raise BadRowError("not an object", f"it is {kind_of(row)}")
        if key not in row:
            raise BadRowError("no list of messages", f"`{key}` is missing")
        if len(row) > 1:
            count_others(row, known, dropped)
        turns = read_messages(row[key], dropped, fixed)
        return _with_system(turns, row.get(system)) if system else turns

    return to_messages


def _joined(row: dict[str, Any], plan: RowFormat, dropped: Dropped, fixed: Fixed) -> list[Message]:
    """Prompt and completion as messages: one conversation (TRL's conversational prompt-completion format)."""
    ask, answer = row.get(plan.user), row.get(plan.assistant)
    head = ask if type(ask) is list else [{"role": "user", "content": _text(row, plan.user, "user text")}]
    tail = (
        answer
        if type(answer) is list
        else [{"role": "assistant", "content": _text(row, plan.assistant, "assistant text")}]
    )
    return _with_system(read_messages([*head, *tail], dropped, fixed), row.get(plan.system) if plan.system else None)


def _from_pair(row: Any, dropped: Dropped, fixed: Fixed = None) -> list[Message]:
    if type(row) is not list or len(row) != 2:
        what = f"a list of {len(row)}" if type(row) is list else kind_of(row)
        raise BadRowError("not a pair", f"it is {what}; [user, {{answer}}] is wanted")
    turns = [
        {"role": "user", "content": _side(row[0], ASK_KEYS, "user text", dropped)},
        {"role": "assistant", "content": _side(row[1], ANSWER_KEYS, "assistant text", dropped)},
    ]
    check_turns(turns)
    return turns


def _side(value: Any, keys: tuple[str, ...], what: str, dropped: Dropped) -> str:
    if type(value) is not dict:
        return read_text(value, what)
    key = next((key for key in keys if key in value), None)
    if key is None and len(value) == 1:
        key = next(iter(value))
    if key is None:
        raise BadRowError("no answer" if what == "assistant text" else f"no {what}", f"keys: {', '.join(value)}"[:100])
    count_others(value, frozenset({key}), dropped)
    return read_text(value[key], what)


def _text(row: dict[str, Any], key: str, what: str) -> str:
    try:
        return read_text(row.get(key), what)
    except BadRowError as bad:
        raise BadRowError(bad.reason, bad.detail or f"`{key}` is {'null' if key in row else 'missing'}") from None


def _with_system(turns: list[Message], system: Any) -> list[Message]:
    """A system text beside the turns becomes the first one; an empty one is none."""
    if system is None or (type(system) is str and not system.strip()):
        return turns
    if turns[0]["role"] == "system":
        raise BadRowError("two system turns", "one beside the messages, one among them")
    return [{"role": "system", "content": read_text(system, "system text")}, *turns]


def count_others(row: dict[str, Any], known: frozenset[str], dropped: Dropped) -> None:
    """Count the keys that nobody reads: they are dropped, and the report says so."""
    for key in row:
        if key not in known:
            dropped[key] = dropped.get(key, 0) + 1
