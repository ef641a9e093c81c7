"""Tools and calls of a row, against its rendering: does the template print them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftplay.data.findings import Finding, Findings
from sftplay.data.formats.tools import function_names, texts_in
from sftplay.data.rendering.cut import Cut
from sftplay.data.rendering.template import RefusedConversationError

_TOOLS_IGNORED = Finding(
    "tools_ignored",
    "warning",
    "the chat template does not print the tools of a row, so the model learns to call what it can't see",
    "give a template that does: data.chat_template",
)


def check_tools(
    row: Mapping[str, Any], messages: list[dict[str, Any]], cuts: list[Cut], place: str, findings: Findings
) -> None:
    """Count tools that the rendering lacks.

    Raises:
        RefusedConversationError: a target lacks a call, so an answer would be trained without it (65).
    """
    text = "".join("".join(part for pair in cut.pairs for part in pair) + cut.tail for cut in cuts)
    if any(name not in text for name in function_names(row.get("tools") or [])):
        findings.add(_TOOLS_IGNORED, place)
    targets = [target for cut in cuts for _, target in cut.pairs]
    answers = [each for each in messages if each["role"] == "assistant" and each.get("train") is not False]
    for message, target in zip(answers[-len(targets) :], targets, strict=True):  # data.turns: last has one target
        if any(name not in target for name in function_names(message.get("tool_calls") or [])):
            raise RefusedConversationError(
                "the chat template leaves out a tool call: take one that knows tools (data.chat_template)"
            )


def with_tool_texts(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages, and what else the template prints of the row, as one more."""
    messages: list[dict[str, Any]] = row["messages"]
    other = [row.get("tools"), *(message.get("tool_calls") for message in messages)]
    return [*messages, {"content": "\n".join(texts_in(other))}] if any(other) else messages
