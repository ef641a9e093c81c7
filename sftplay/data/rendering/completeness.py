"""Check that every message of a conversation appears in its rendering: the model never sees what a
template leaves out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sftplay.data.findings import Finding
from sftplay.data.formats.tools import texts_in
from sftplay.data.rendering.template import ChatTemplate, Message
from sftplay.errors import DataError

SYSTEM, RESULTS, CALLS, ARGUMENTS = (
    "system turns",
    "tool results",
    "earlier tool calls",
    "arguments of tool calls",
)
_WORDS = {"system": SYSTEM, "tool": RESULTS, "user": "user turns", "assistant": "earlier answers"}
_REASONING = re.compile(
    r"<think>.*?</think>|^.*?</think>", re.DOTALL
)  # templates take it out of earlier answers
_ADVICE = {
    SYSTEM: "data.system_unsupported: merge_into_user puts them in front of the first user turn",
    RESULTS: "give a template that knows tools: data.chat_template",
    CALLS: "give a template that knows tools: data.chat_template",
    ARGUMENTS: "give a template that knows tools: data.chat_template",
}


def lost_finding(word: str, template: str) -> Finding:
    """Return the finding for what a template leaves out; `template` is its name for a person."""
    what = f"the chat template of {template} prints no {word}, or not all of them: the model is trained without seeing them"
    todo = _ADVICE.get(
        word,
        "data.turns: unroll trains each answer behind what it follows, or give another template: data.chat_template",
    )
    return Finding("lost_text", "warning", what, todo)


def lost_parts(
    rendering: str, messages: Sequence[Message], trained: Sequence[int]
) -> tuple[tuple[int, str], ...]:
    """Return (index, what it is) of each part of a conversation that does not stand in its
    rendering.

    Texts of trained answers are looked for by the cut.
    """
    lost = []
    for index, message in enumerate(messages):
        text = message.get("content") or ""
        if message["role"] == "assistant":
            text = "" if index in trained else _REASONING.sub("", text)
        if not stands_in(text, rendering):
            lost.append((index, _WORDS.get(message["role"], f"{message['role']} turns")))
        if index not in trained and (missing := lost_calls(message, rendering)):
            lost.append((index, missing))
    return tuple(lost)


def lost_calls(message: Message, rendering: str) -> str:
    """Return what is missing of a message's calls: they themselves, or arguments; empty where they
    are all there.
    """
    functions = [
        call["function"]
        for call in message.get("tool_calls") or ()
        if isinstance(call.get("function"), Mapping)
    ]
    if any(str(function.get("name", "")) not in rendering for function in functions):
        return CALLS
    texts = [
        text for function in functions for text in texts_in(_parsed(function.get("arguments")))
    ]
    return ARGUMENTS if any(not stands_in(text, rendering) for text in texts) else ""


def stands_in(text: str, rendering: str) -> bool:
    """Tell whether a text stands in a rendering, trimmed, written as JSON, or with its lines
    indented otherwise.
    """
    text = text.strip()
    if (
        text in rendering
        or json.dumps(text, ensure_ascii=False)[1:-1] in rendering
        or json.dumps(text)[1:-1] in rendering
    ):
        return True
    lines = text.split("\n")
    return len(lines) > 1 and all(line.strip() in rendering for line in lines)


def lost_in_shape(
    template: ChatTemplate, messages: Sequence[Message], tools: list[Any] | None
) -> tuple[tuple[int, str], ...]:
    """Return the same for a conversation of this shape with texts of our own: a short text may
    stand elsewhere by chance.
    """
    shape = tuple(
        (
            message["role"],
            bool((message.get("content") or "").strip()),
            tuple(
                isinstance(_function(call).get("arguments"), str)
                for call in message.get("tool_calls") or ()
            ),
            tuple(sorted(key for key in message if key not in ("role", "content", "tool_calls"))),
        )
        for message in messages
    )
    named = tuple(sorted(template.named.items()))
    return _lost_in_shape(template.source, named, template.date, shape, bool(tools))


@lru_cache(maxsize=1024)
def _lost_in_shape(
    source: str,
    named: tuple[tuple[str, str], ...],
    date: str | None,
    shape: tuple[Any, ...],
    tools: bool,
) -> tuple[tuple[int, str], ...]:
    messages = [_probe(index, *part) for index, part in enumerate(shape)]
    functions = [
        {"name": _function(call)["name"], "description": "a probe", "parameters": _PARAMETERS}
        for message in messages
        for call in message.get("tool_calls", ())
    ]
    offered = (
        [{"type": "function", "function": function} for function in functions] if tools else None
    )
    try:
        rendering = ChatTemplate(source, dict(named), date).render(messages, False, offered or None)
    except DataError:
        return ()
    trained = [index for index, message in enumerate(messages) if index + 1 == len(messages)]
    return lost_parts(rendering, messages, trained)


_PARAMETERS = {
    "type": "object",
    "properties": {"probe": {"type": "string", "description": "a probe"}},
}


def _probe(
    index: int, role: str, has_text: bool, calls: tuple[bool, ...], more: tuple[str, ...]
) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": role,
        "content": f"probe {role} text {index}" if has_text else "",
    }
    message |= {key: f"probe-{key}-{index}" for key in more if key != "train"}
    made = []
    for number, as_text in enumerate(calls):
        arguments: Any = {"probe": f"probe value {index} {number}"}
        function = {
            "name": f"probe_{index}_{number}",
            "arguments": json.dumps(arguments) if as_text else arguments,
        }
        made.append({"id": f"probe{index:03}{number}", "type": "function", "function": function})
    return {**message, "tool_calls": made} if made else message


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else {}


def _parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
