"""Tools and calls of a row, against its rendering: does the template print them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftplay.data.findings import Finding, Findings
from sftplay.data.formats.reasoning import REASONING_KEYS
from sftplay.data.formats.row_format import TEMPLATE_KWARGS
from sftplay.data.formats.tools import function_names, texts_in
from sftplay.data.rendering.completeness import CALLS, lost_calls
from sftplay.data.rendering.cut import Cut
from sftplay.data.rendering.template import RefusedConversationError

_TOOLS_IGNORED = Finding(
    "tools_ignored",
    "warning",
    "the chat template does not print the tools of a row, so the model learns to call what it can't see",
    "give a template that does: data.chat_template",
)


def check_tools(
    row: Mapping[str, Any],
    messages: list[dict[str, Any]],
    cuts: list[Cut],
    place: str,
    findings: Findings,
) -> None:
    """Count tools missing from the rendering.

    Raises:
        RefusedConversationError: a call is missing from a target, so an answer would be trained without it
            (65).
    """
    text = "".join("".join(part for pair in cut.pairs for part in pair) + cut.tail for cut in cuts)
    if any(name not in text for name in function_names(row.get("tools") or [])):
        findings.add(_TOOLS_IGNORED, place)
    targets = [target for cut in cuts for _, target in cut.pairs]
    answers = [
        each for each in messages if each["role"] == "assistant" and each.get("train") is not False
    ]
    for message, target in zip(
        answers[-len(targets) :], targets, strict=True
    ):  # data.turns: last has one target
        if missing := lost_calls(message, target):
            what = "a tool call" if missing == CALLS else "arguments of a tool call"
            raise RefusedConversationError(
                f"the chat template leaves out {what}: take one that knows tools (data.chat_template)"
            )


def with_tool_texts(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages, and what else the template prints of the row, as one more."""
    messages: list[dict[str, Any]] = row["messages"]
    of_messages = [
        message.get(key) for message in messages for key in ("tool_calls", *REASONING_KEYS)
    ]
    other = [row.get("tools"), row.get(TEMPLATE_KWARGS), *of_messages]
    return [*messages, {"content": "\n".join(texts_in(other))}] if any(other) else messages
