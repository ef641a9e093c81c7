"""Messages in the form that a template takes: under which key it reads reasoning, and arguments of
calls as objects or as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sftplay.data import exact_json
from sftplay.data.findings import Finding
from sftplay.data.formats.reasoning import REASONING

INLINED = Finding(
    "reasoning_inlined",
    "warning",
    "the chat template reads no reasoning: it stands in front of the answer between <think> and </think>",
    "that is data.reasoning: keep; data.reasoning: strip leaves it out (process)",
)
INTO_KEY = Finding(
    "reasoning_kept",
    "note",
    "reasoning goes to the chat template in the key that it reads (data.reasoning: keep)",
)


@dataclass(frozen=True)
class MessageForm:
    """Form in which a template takes messages.

    Attributes:
        reasoning_key: the key under which it reads reasoning; empty where it reads none.
        arguments_as_text: whether it takes the arguments of a call as JSON text only.
    """

    reasoning_key: str = REASONING
    arguments_as_text: bool = False

    def adapted(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the messages as the template takes them."""
        return [self._adapted(message) if len(message) > 2 else message for message in messages]

    def finding(self, messages: Sequence[Mapping[str, Any]]) -> Finding | None:
        """Return what happens to reasoning, where a message has some."""
        if not any(message.get(REASONING) for message in messages):
            return None
        return INTO_KEY if self.reasoning_key else INLINED

    def _adapted(self, message: dict[str, Any]) -> dict[str, Any]:
        if reasoning := message.get(REASONING):
            message = {key: value for key, value in message.items() if key != REASONING}
            if self.reasoning_key:
                message[self.reasoning_key] = reasoning
            else:
                message["content"] = (
                    f"<think>\n{reasoning.strip()}\n</think>\n\n{message.get('content') or ''}"
                )
        if self.arguments_as_text and message.get("tool_calls"):
            message = {
                **message,
                "tool_calls": [_with_text(call) for call in message["tool_calls"]],
            }
        return message


AS_PROCESSED = MessageForm()


def _with_text(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or isinstance(function.get("arguments"), str):
        return call
    return {
        **call,
        "function": {
            **function,
            "arguments": exact_json.pretty(function.get("arguments"), ensure_ascii=False),
        },
    }
