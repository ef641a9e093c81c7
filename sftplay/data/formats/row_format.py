"""The decision about a file: its format, which keys hold what, and why.

Small enough to travel to a worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
CONVERSATION, FIELDS, PAIRS = "conversation", "fields", "pairs"
TEMPLATE_KWARGS = "chat_template_kwargs"  # TRL's name for a row's arguments to its chat template


@dataclass(frozen=True)
class RowFormat:
    """The way in which the rows of one file are read.

    Attributes:
        format: its name in `data.format`, or `fields` where data.fields says it all.
        shape: how rows become messages: `fields` (named texts), `conversation` (a list of
            messages), `pairs`.
        user, assistant, system: keys of the row.
        extra: keys whose texts are joined to the user's (alpaca's input, a context).
        history: key of earlier turns, pairs of question and answer (LLaMA-Factory's alpaca).
        reasoning: key of the reasoning before the answer.
        messages: key of the list of messages; empty where the row itself is the list.
        tools: keys of the tools that a conversation offers; in each row one of them has a value.
    """

    format: str
    shape: str
    evidence: str = ""
    user: str = ""
    assistant: str = ""
    system: str = ""
    extra: tuple[str, ...] = ()
    history: str = ""
    reasoning: str = ""
    messages: str = ""
    tools: tuple[str, ...] = ()

    @property
    def known(self) -> frozenset[str]:
        """Keys of a row that are read; the others are findings."""
        single = (
            self.user,
            self.assistant,
            self.system,
            self.history,
            self.reasoning,
            self.messages,
        )
        return frozenset(filter(None, (*single, *self.extra, *self.tools, TEMPLATE_KWARGS)))
