"""Lists of messages, in OpenAI's and ShareGPT's dialects, checked turn by turn; tool calls and
marks of what to train are kept.

An accepted conversation: at most one system turn, first; then user and assistant in turn, ending
with the assistant; tool
results stand between two assistant turns. Anything else is refused by name: nothing is reordered,
merged or cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftplay.data.formats.marks import MARKS, is_trained
from sftplay.data.formats.reasoning import REASONING, REASONING_KEYS, read_reasoning
from sftplay.data.formats.row_format import Message
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.formats.tools import read_calls
from sftplay.data.rejects import BadRowError

ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value")
RESULT_KEYS = ("name", "tool_call_id")  # of a tool's message: some templates print them
OPENING_TURN = "the assistant's opening turn was taken out"
JOINED_TURNS = "two turns of one speaker were joined"
TURNS_OUT_OF_ORDER = (
    "the conversation starts with the assistant",
    "two user turns in a row",
    "two assistant turns in a row",
)
CALL_ROLES = (
    "function_call",
    "tool_call",
)  # a call as a turn of its own, its content JSON (ShareGPT, ms-swift)
_READ = frozenset({"tool_calls", "function_call", *MARKS})
ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
_MAY_FOLLOW: Mapping[str, frozenset[str]] = {
    "": frozenset({"system", "user"}),
    "system": frozenset({"user"}),
    "user": frozenset({"assistant"}),
    "assistant": frozenset({"user", "tool"}),
    "tool": frozenset({"assistant", "tool"}),
}


def read_messages(items: Any, notes: RowNotes) -> list[Message]:
    """Turn messages of any dialect into ours, in order, texts untouched.

    Args:
        notes: gets the keys that are not used, and what was fixed; says whether turns out of order
            may be.

    Raises:
        BadRowError: not a conversation that can be trained on.
    """
    if type(items) is not list:
        raise BadRowError("no list of messages", f"it is {kind_of(items)}")
    messages: list[Message] = []
    for item in items:
        message = _read_message(item, notes)
        if (
            messages
            and type(item) is dict
            and _role_of(item) in CALL_ROLES
            and messages[-1]["role"] == "assistant"
        ):
            messages[-1] = _with_calls(messages[-1], message)
        else:
            messages.append(message)
    if messages and messages[0]["role"] == "system" and not messages[0]["content"].strip():
        del messages[0]  # an empty system turn is none
    if notes.fix_turns:
        messages = fix_turns(messages, notes.fixes)
    check_turns(messages)
    if not any(message["role"] == "assistant" and "train" not in message for message in messages):
        raise BadRowError("no answer to train", "every one is marked as not trained")
    return messages


def _with_calls(before: Message, call: Message) -> Message:
    """Add a call that is a turn of its own to the assistant's turn before it."""
    if before.get("train") != call.get("train"):
        raise BadRowError(
            "marks that contradict each other", "a turn and the tool call that belongs to it"
        )
    return {**before, "tool_calls": [*before.get("tool_calls", []), *call["tool_calls"]]}


def check_turns(messages: list[Message]) -> None:
    """Raise BadRowError where the order of turns is not an accepted one, or a text is empty."""
    before = ""
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role not in _MAY_FOLLOW[before]:
            raise BadRowError(_order_problem(before, role), f"message {number}")
        if role != "tool" and not message["content"].strip() and "tool_calls" not in message:
            raise BadRowError(
                "empty answer" if role == "assistant" else f"empty {role} text", f"message {number}"
            )
        before = role
    if before != "assistant":
        answered = any(message["role"] == "assistant" for message in messages)
        raise BadRowError("the last turn has no answer" if answered else "no answer")


def fix_turns(messages: list[Message], fixed: list[str]) -> list[Message]:
    """Return the conversation from its first user turn on, plain turns of one speaker in a row
    joined by a blank line.
    """
    system = messages[:1] if messages and messages[0]["role"] == "system" else []
    turns = messages[len(system) :]
    while turns and turns[0]["role"] == "assistant":
        turns = turns[1:]
        fixed.append(OPENING_TURN)
    joined: list[Message] = []
    for turn in turns:
        before = joined[-1] if joined else {}
        if (
            before.keys() == turn.keys() == {"role", "content"}
            and before["role"] == turn["role"] != "tool"
        ):
            joined[-1] = {**turn, "content": f"{before['content']}\n\n{turn['content']}"}
            fixed.append(JOINED_TURNS)
        else:
            joined.append(turn)
    return [*system, *joined]


def _order_problem(before: str, role: str) -> str:
    if role == "system":
        return "a system turn that is not the first"
    if before in ("", "system"):
        return f"the conversation starts with the {role}"
    if before == role:
        return f"two {role} turns in a row"
    return f"a {role} turn after the {before}'s"


def _read_message(item: Any, notes: RowNotes) -> Message:
    if type(item) is not dict:
        raise BadRowError("a message that is no object", f"it is {kind_of(item)}")
    role_key = "role" if "role" in item else "from"
    text_key = "content" if "content" in item else "value"
    role, text = item.get(role_key), item.get(text_key)
    if _role_of(item) in CALL_ROLES:
        item = {**item, role_key: "assistant", text_key: None, "tool_calls": text}
        role, text = "assistant", None
    ours = ROLES.get(role) if type(role) is str else None
    if ours is None and type(role) is str:
        ours = ROLES.get(role.lower())
    if ours is None:
        raise BadRowError("unknown role", f"{role!r}"[:60])
    more = _read_more(item, ours, {role_key, text_key}, notes) if len(item) > 2 else {}
    if type(text) is not str:
        text = "" if text is None and "tool_calls" in more else read_text(text, f"{ours} text")
    if REASONING in more and "<think>" in text:
        raise BadRowError(
            "reasoning stands twice", "in a key of its own and as <think> in the text"
        )
    return {"role": ours, "content": text, **more}


def _role_of(item: dict[str, Any]) -> str:
    role = item.get("role", item.get("from"))
    return role.lower() if type(role) is str else ""


def _read_more(item: dict[str, Any], role: str, read: set[str], notes: RowNotes) -> Message:
    """Read what a message holds next to role and text: calls, whose result it is, reasoning,
    whether it is trained.
    """
    more: Message = {}
    calls = item.get("tool_calls") or item.get("function_call")
    if calls:
        if role != "assistant":
            raise BadRowError("a tool call that is not the assistant's", f"it is the {role}'s")
        more["tool_calls"] = read_calls(calls, notes)
    if role == "tool":
        more |= {key: item[key] for key in RESULT_KEYS if type(item.get(key)) is str}
    if role == "assistant" and (reasoning := read_reasoning(item)):
        more[REASONING] = reasoning
    if not is_trained(item, role, notes) and role == "assistant":
        more["train"] = False
    used = (*_READ, *(REASONING_KEYS if role == "assistant" else ()))
    for key, value in item.items():
        if key not in read and key not in more and key not in used:
            notes.skip(f"messages[].{key}", value)
    return more


def read_text(value: Any, what: str) -> str:
    """Return a text, or a list of text parts (joined by nothing, as templates do).

    Raises:
        BadRowError: missing, a number, an image part and so on; `what` names it ("user text").
    """
    if type(value) is str:
        return value
    if value is None:
        raise BadRowError("no answer" if what == "assistant text" else f"no {what}")
    if type(value) is list and all(type(part) is dict for part in value):
        kinds = [str(part.get("type", "text")) for part in value]
        other = next((kind for kind in kinds if kind != "text"), None)
        if other is not None:
            raise BadRowError(
                f"a part that is no text: {other[:20]}", f"{what}: only texts can be trained on"
            )
        return "".join(read_text(part.get("text"), what) for part in value)
    raise BadRowError(f"{what} that is not text", f"it is {kind_of(value)}: write it in quotes")


def kind_of(value: Any) -> str:
    """Return `a number`, `a list` …: what JSON calls a value."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
