"""Reasoning in answers, `<think>…</think>`: found, and taken out where `data.reasoning: strip` asks
for it. Never unasked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sftplay.data.formats.row_format import Message
from sftplay.data.rejects import BadRowError

REASONING = "reasoning_content"  # the key in processed rows
REASONING_KEYS = (
    REASONING,
    "thinking",
    "reasoning",
)  # of a message: vLLM's and DeepSeek's name, gpt-oss's, OpenRouter's
COLUMNS = (*REASONING_KEYS, "complex_cot", "chain_of_thought", "cot", "thought", "rationale")
_REASONING_KEY = REASONING.encode()
_TAG = re.compile(r"</?think>")
_BLOCK = re.compile(r"<think>(?:(?!<think>).)*?</think>\s*", re.DOTALL)


def may_have_reasoning(content: bytes) -> bool:
    """Tell whether messages as JSON may hold reasoning."""
    return b"think>" in content or _REASONING_KEY in content


def read_reasoning(item: Mapping[str, Any]) -> str:
    """Return the reasoning that an answer brings in a key of its own; empty where it brings none.

    Raises:
        BadRowError: it is no text, or two keys have different ones.
    """
    found = {key: item[key] for key in REASONING_KEYS if item.get(key)}
    if not found:
        return ""
    texts = list(found.values())
    if any(type(text) is not str for text in texts):
        raise BadRowError("reasoning that is not text", ", ".join(f"`{key}`" for key in found))
    if len(set(texts)) > 1:
        raise BadRowError("reasoning stands twice", ", ".join(f"`{key}`" for key in found))
    return str(texts[0]) if texts[0].strip() else ""


def has_reasoning(messages: Sequence[Message]) -> bool:
    """Tell whether an answer holds reasoning, in a key of its own or between tags."""
    return any(
        message["role"] == "assistant" and (REASONING in message or _TAG.search(message["content"]))
        for message in messages
    )


def without_reasoning(messages: Sequence[Message]) -> list[Message]:
    """Return the conversation without the reasoning in its answers, and without the white space
    behind it; other texts as they are.

    Raises:
        BadRowError: a tag without its other half, or an answer of which nothing is left.
    """
    return [
        _stripped(message) if message["role"] == "assistant" else message for message in messages
    ]


def _stripped(message: Message) -> Message:
    message = {key: value for key, value in message.items() if key != REASONING}
    text = _BLOCK.sub("", message["content"])
    if tag := _TAG.search(text):
        raise BadRowError(
            "reasoning without beginning or end",
            f"{tag[0]} stands alone: nothing says what to take out",
        )
    if not text.strip() and message["content"].strip() and "tool_calls" not in message:
        raise BadRowError(
            "empty answer", "nothing is left without its reasoning (data.reasoning: strip)"
        )
    return {**message, "content": text}
