"""Lengths of conversations in characters, for the report."""

from __future__ import annotations

from sftplay.data.formats.reasoning import REASONING
from sftplay.data.formats.row_format import Message
from sftplay.data.formats.tools import texts_in
from sftplay.data.rejects import BadRowError


def measure(messages: list[Message]) -> tuple[int, int]:
    """Count the characters of the other turns and of the trained answers.

    Raises:
        BadRowError: a NUL character, which tokenizers and C libraries treat in ways of their own.
    """
    asked = answered = 0
    for message in messages:
        text = message["content"] + message.get(REASONING, "")
        if "tool_calls" in message:
            text += "".join(texts_in(message["tool_calls"]))
        if "\x00" in text:
            raise BadRowError(
                "a NUL character in a text",
                f"in the {message['role']}'s, at character {text.index(chr(0))}",
            )
        if message["role"] == "assistant" and "train" not in message:
            answered += len(text)
        else:
            asked += len(text)
    return asked, answered
