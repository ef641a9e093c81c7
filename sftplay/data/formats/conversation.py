"""Lists of messages, in OpenAI's and ShareGPT's dialects, checked turn by turn; tool calls and marks of what to train are kept.

An accepted conversation: at most one system turn, first; then user and assistant in turn, ending with the assistant; tool
results stand between two assistant turns. Anything else is refused by name: nothing is reordered, merged or cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

from sftplay.data.formats.row_format import Message
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
_READ = frozenset({"tool_calls", "function_call", "train", "weight"})
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
}
_MAY_FOLLOW: Mapping[str, frozenset[str]] = {
    "": frozenset({"system", "user"}),
    "system": frozenset({"user"}),
    "user": frozenset({"assistant"}),
    "assistant": frozenset({"user", "tool"}),
    "tool": frozenset({"assistant", "tool"}),
}


def read_messages(items: Any, dropped: dict[str, int], fixed: list[str] | None = None) -> list[Message]:
    """Any dialect → our messages, in order, texts untouched.

    Args:
        dropped: counts the keys that are not kept, by name.
        fixed: None refuses a conversation whose turns are out of order; else it is fixed, and gets what was done to it.

    Raises:
        BadRowError: not a conversation that can be trained on.
    """
    if type(items) is not list:
        raise BadRowError("no list of messages", f"it is {kind_of(items)}")
    messages = [_read_message(item, dropped) for item in items]
    if messages and messages[0]["role"] == "system" and not messages[0]["content"].strip():
        del messages[0]  # an empty system turn is none
    if fixed is not None:
        messages = fix_turns(messages, fixed)
    check_turns(messages)
    if not any(message["role"] == "assistant" and "train" not in message for message in messages):
        raise BadRowError("no answer to train", "every one is marked `train: false` or `weight: 0`")
    return messages


def check_turns(messages: list[Message]) -> None:
    """Raise BadRowError where the order of turns is not an accepted one, or a text is empty."""
    before = ""
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role not in _MAY_FOLLOW[before]:
            raise BadRowError(_order_problem(before, role), f"message {number}")
        if role != "tool" and not message["content"].strip() and "tool_calls" not in message:
            raise BadRowError("empty answer" if role == "assistant" else f"empty {role} text", f"message {number}")
        before = role
    if before != "assistant":
        answered = any(message["role"] == "assistant" for message in messages)
        raise BadRowError("the last turn has no answer" if answered else "no answer")


def fix_turns(messages: list[Message], fixed: list[str]) -> list[Message]:
    """The conversation from its first user turn on, plain turns of one speaker in a row joined by a blank line."""
    system = messages[:1] if messages and messages[0]["role"] == "system" else []
    turns = messages[len(system) :]
    while turns and turns[0]["role"] == "assistant":
        turns = turns[1:]
        fixed.append(OPENING_TURN)
    joined: list[Message] = []
    for turn in turns:
        before = joined[-1] if joined else {}
        if before.keys() == turn.keys() == {"role", "content"} and before["role"] == turn["role"] != "tool":
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


def _read_message(item: Any, dropped: dict[str, int]) -> Message:
    if type(item) is not dict:
        raise BadRowError("a message that is no object", f"it is {kind_of(item)}")
    role_key = "role" if "role" in item else "from"
    text_key = "content" if "content" in item else "value"
    role, text = item.get(role_key), item.get(text_key)
    if role == "function_call":  # ShareGPT's way: a turn of its own, the call as JSON text
        item = {**item, role_key: "assistant", text_key: None, "tool_calls": text}
        role, text = "assistant", None
    ours = ROLES.get(role) if type(role) is str else None
    if ours is None and type(role) is str:
        ours = ROLES.get(role.lower())
    if ours is None:
        raise BadRowError("unknown role", f"{role!r}"[:60])
    more = _read_more(item, ours, {role_key, text_key}, dropped) if len(item) > 2 else {}
    if type(text) is not str:
        text = "" if text is None and "tool_calls" in more else read_text(text, f"{ours} text")
    return {"role": ours, "content": text, **more}


def _read_more(item: dict[str, Any], role: str, read: set[str], dropped: dict[str, int]) -> Message:
    """What a message holds beside role and text: calls, whose result it is, whether it is trained."""
    more: Message = {}
    calls = item.get("tool_calls") or item.get("function_call")
    if calls:
        if role != "assistant":
            raise BadRowError("a tool call that is not the assistant's", f"it is the {role}'s")
        more["tool_calls"] = read_calls(calls)
    if role == "tool":
        more |= {key: item[key] for key in RESULT_KEYS if type(item.get(key)) is str}
    if not _is_trained(item) and role == "assistant":
        more["train"] = False
    for key, value in item.items():
        if key not in read and key not in more and key not in _READ and value is not None:
            name = f"messages[].{key}"
            dropped[name] = dropped.get(name, 0) + 1
    return more


def _is_trained(item: dict[str, Any]) -> bool:
    train, weight = item.get("train"), item.get("weight")
    if type(train) not in (bool, NoneType):
        raise BadRowError("a mark that can't be read", f"`train` is {kind_of(train)}: true or false is wanted")
    if weight is not None and weight not in (0, 1):
        raise BadRowError("a mark that can't be read", f"`weight` is {weight!r}"[:60] + ": 0 or 1 is wanted")
    return train is not False and weight != 0


def read_text(value: Any, what: str) -> str:
    """A text, or a list of text parts (joined by nothing, as templates do).

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
            raise BadRowError(f"a part that is no text: {other[:20]}", f"{what}: only texts can be trained on")
        return "".join(read_text(part.get("text"), what) for part in value)
    raise BadRowError(f"{what} that is not text", f"it is {kind_of(value)}: write it in quotes")


def kind_of(value: Any) -> str:
    """`a number`, `a list` …: what JSON calls a value."""
    names = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
