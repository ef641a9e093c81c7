"""What was decided for a file: its format, which keys hold what, and why. Small enough to travel to a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
CONVERSATION, FIELDS, PAIRS = "conversation", "fields", "pairs"


@dataclass(frozen=True)
class RowFormat:
    """How the rows of one file are read.

    Attributes:
        format: its name in `data.format`, or `fields` where data.fields says it all.
        shape: how rows become messages: `fields` (named texts), `conversation` (a list of messages), `pairs`.
        user, assistant, system, extra: keys of the row; `extra` is alpaca's input, joined to the user's text.
        messages: key of the list of messages; empty where the row itself is the list.
        tools: key of the tools that a conversation offers.
    """

    format: str
    shape: str
    evidence: str = ""
    user: str = ""
    assistant: str = ""
    system: str = ""
    extra: str = ""
    messages: str = ""
    tools: str = ""

    @property
    def known(self) -> frozenset[str]:
        """Keys of a row that are read; the others are dropped and counted."""
        return frozenset(filter(None, (self.user, self.assistant, self.system, self.extra, self.messages, self.tools)))
