"""Rows of named texts: user and assistant, alpaca, question and answer, prompt and completion, and
pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sftplay.data.formats.conversation import check_turns, kind_of, read_messages, read_text
from sftplay.data.formats.message_lists import as_messages, form_of
from sftplay.data.formats.reasoning import REASONING
from sftplay.data.formats.row_format import CONVERSATION, PAIRS, Message, RowFormat
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.formats.unused_keys import read_row_keys
from sftplay.data.rejects import BadRowError

ToMessages = Callable[[Any, RowNotes], list[Message]]
ANSWER_KEYS = (
    "answer",
    "assistant",
    "response",
    "output",
    "completion",
    "content",
    "text",
    "value",
)
ASK_KEYS = ("user", "question", "prompt", "instruction", "content", "text", "value")


def converter(plan: RowFormat) -> ToMessages:
    """Return the function that turns a parsed row of this format into messages; it raises
    BadRowError.
    """
    if plan.shape == PAIRS:
        return _from_pair
    if plan.shape == CONVERSATION:
        return _conversation(plan)
    return _fields(plan)


def _fields(plan: RowFormat) -> ToMessages:
    user, assistant, system, known = plan.user, plan.assistant, plan.system, plan.known

    def to_messages(row: Any, notes: RowNotes) -> list[Message]:
        if type(row) is not dict:
            raise BadRowError("not an object", f"it is {kind_of(row)}")
        if not row.keys() <= known:
            read_row_keys(row, known, notes)
        ask, answer = row.get(user), row.get(assistant)
        if type(ask) is not str or type(answer) is not str or _are_messages_as_text(ask, answer):
            if form_of(ask) or form_of(answer):
                return _joined(row, plan, notes)
            ask, answer = _text(row, user, "user text"), _text(row, assistant, "assistant text")
        if not answer.strip():
            raise BadRowError("empty answer", f"`{assistant}` is empty")
        for key in plan.extra:
            if row.get(key):
                more = read_text(row[key], f"`{key}`")
                ask = f"{ask}\n\n{more}" if ask and more.strip() else ask or more
        if not ask.strip():
            raise BadRowError("empty user text", f"`{user}` is empty")
        turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        if plan.history and row.get(plan.history):
            turns = [*_earlier_turns(row[plan.history]), *turns]
            check_turns(turns)
        if plan.reasoning and row.get(plan.reasoning):
            turns[-1] = _with_reasoning(turns[-1], row[plan.reasoning], plan.reasoning)
        return _with_system(turns, row.get(system) if system else None)

    return to_messages


def _are_messages_as_text(ask: str, answer: str) -> bool:
    """Tell whether both texts are JSON of messages; one alone may be a text to train on."""
    return ask.lstrip()[:1] == "[" == answer.lstrip()[:1] and bool(form_of(ask) and form_of(answer))


def _earlier_turns(history: Any) -> list[Message]:
    """Read pairs of question and answer that lie before a row's own."""
    if type(history) is not list or any(
        type(pair) is not list or len(pair) != 2 for pair in history
    ):
        raise BadRowError(
            "a history that can't be read", "a list of [question, answer] pairs is required"
        )
    texts = [read_text(text, "text in the history") for pair in history for text in pair]
    return [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(texts)
    ]


def _with_reasoning(answer: Message, reasoning: Any, key: str) -> Message:
    text = read_text(reasoning, f"`{key}`")
    if "<think>" in answer["content"]:
        raise BadRowError("reasoning stands twice", f"in `{key}` and as <think> in the answer")
    return {**answer, REASONING: text} if text.strip() else answer


def _conversation(plan: RowFormat) -> ToMessages:
    key, system, known = plan.messages, plan.system, plan.known

    def to_messages(row: Any, notes: RowNotes) -> list[Message]:
        if not key:
            return read_messages(row, notes)
        if type(row) is not dict:
            raise BadRowError("not an object", f"it is {kind_of(row)}")
        if key not in row:
            raise BadRowError("no list of messages", f"`{key}` is missing")
        if not row.keys() <= known:
            read_row_keys(row, known, notes)
        turns = read_messages(as_messages(row[key]), notes)
        return _with_system(turns, row.get(system)) if system else turns

    return to_messages


def _joined(row: dict[str, Any], plan: RowFormat, notes: RowNotes) -> list[Message]:
    """Read prompt and completion as messages: one conversation (TRL's conversational
    prompt-completion format).
    """
    for key in (*plan.extra, plan.history, plan.reasoning):
        notes.skip(key, row.get(key))  # they belong to rows of single texts
    ask, answer = row.get(plan.user), row.get(plan.assistant)
    if type(ask) is type(answer) is str:
        ask, answer = as_messages(ask), as_messages(answer)
    else:  # a text among lists is one to train on
        ask, answer = (x if type(x) is str else as_messages(x) for x in (ask, answer))
    head = (
        ask
        if type(ask) is list
        else [{"role": "user", "content": _text(row, plan.user, "user text")}]
    )
    tail = (
        answer
        if type(answer) is list
        else [{"role": "assistant", "content": _text(row, plan.assistant, "assistant text")}]
    )
    return _with_system(
        read_messages([*head, *tail], notes), row.get(plan.system) if plan.system else None
    )


def _from_pair(row: Any, notes: RowNotes) -> list[Message]:
    if type(row) is not list or len(row) != 2:
        what = f"a list of {len(row)}" if type(row) is list else kind_of(row)
        raise BadRowError("not a pair", f"it is {what}; [user, {{answer}}] is required")
    turns = [
        {"role": "user", "content": _side(row[0], ASK_KEYS, "user text", notes)},
        {"role": "assistant", "content": _side(row[1], ANSWER_KEYS, "assistant text", notes)},
    ]
    check_turns(turns)
    return turns


def _side(value: Any, keys: tuple[str, ...], what: str, notes: RowNotes) -> str:
    if type(value) is not dict:
        return read_text(value, what)
    key = next((key for key in keys if key in value), None)
    if key is None and len(value) == 1:
        key = next(iter(value))
    if key is None:
        raise BadRowError(
            "no answer" if what == "assistant text" else f"no {what}",
            f"keys: {', '.join(value)}"[:100],
        )
    read_row_keys(value, frozenset({key}), notes)
    return read_text(value[key], what)


def _text(row: dict[str, Any], key: str, what: str) -> str:
    try:
        return read_text(row.get(key), what)
    except BadRowError as bad:
        raise BadRowError(
            bad.reason, bad.detail or f"`{key}` is {'null' if key in row else 'missing'}"
        ) from None


def _with_system(turns: list[Message], system: Any) -> list[Message]:
    """Put a system text from outside the turns first; an empty one is none."""
    if system is None or (type(system) is str and not system.strip()):
        return turns
    if turns[0]["role"] == "system":
        raise BadRowError("two system turns", "one next to the messages, one among them")
    return [{"role": "system", "content": read_text(system, "system text")}, *turns]
