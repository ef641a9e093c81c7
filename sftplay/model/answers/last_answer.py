"""The last answer of a tokenized row: what the model reads before it, and how it was to be learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sftplay.data.tokenizing.artifact import IGNORED


@dataclass(frozen=True)
class HeldOut:
    """One row.

    Attributes:
        ids: all tokens; labels: the same, -100 on what was not trained.
        start, end: the last trained turn, end-of-turn token included, is ids[start:end].
    """

    row_id: str
    ids: list[int]
    labels: list[int]
    start: int
    end: int

    @property
    def prompt(self) -> list[int]:
        """Everything that the model reads before its last answer."""
        return self.ids[: self.start]

    @property
    def reference(self) -> list[int]:
        """The last answer as it was to be learned."""
        return self.ids[self.start : self.end]


def is_trained(row: Mapping[str, Any]) -> bool:
    """Return whether a row has an answer at all."""
    return any(label != IGNORED for label in row["labels"])


def held_out(row: Mapping[str, Any]) -> HeldOut:
    """Cut a row before its last run of trained tokens, which is its last answer.

    An input always lies between two answers.
    """
    labels = row["labels"]
    end = next(place for place in range(len(labels), 0, -1) if labels[place - 1] != IGNORED)
    start = next((place for place in range(end, 0, -1) if labels[place - 1] == IGNORED), 0)
    return HeldOut(row["id"], row["input_ids"], labels, start, end)
