"""Reasoning in answers, `<think>…</think>`: found, and taken out where `data.reasoning: strip` asks for it. Never unasked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sftplay.data.formats.row_format import Message
from sftplay.data.rejects import BadRowError

MARK = b"think>"  # in the JSON of every row that can have some
_TAG = re.compile(r"</?think>")
_BLOCK = re.compile(r"<think>(?:(?!<think>).)*?</think>\s*", re.DOTALL)


def has_reasoning(messages: Sequence[Message]) -> bool:
    """Whether an answer holds a tag of reasoning."""
    return any(message["role"] == "assistant" and _TAG.search(message["content"]) for message in messages)


def without_reasoning(messages: Sequence[Message]) -> list[Message]:
    """The conversation without the reasoning in its answers, and without the white space behind it; other texts as they are.

    Raises:
        BadRowError: a tag without its other half, or an answer of which nothing is left.
    """
    return [_stripped(message) if message["role"] == "assistant" else message for message in messages]


def _stripped(message: Message) -> Message:
    text = _BLOCK.sub("", message["content"])
    if tag := _TAG.search(text):
        raise BadRowError("reasoning without beginning or end", f"{tag[0]} stands alone: nothing says what to take out")
    if not text.strip() and message["content"].strip() and "tool_calls" not in message:
        raise BadRowError("empty answer", "nothing is left without its reasoning (data.reasoning: strip)")
    return {**message, "content": text}
