"""Measurements of one model in an evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One model on all rows.

    Attributes:
        losses: summed cross entropy (nats) of each row, and its number of trained tokens.
        texts, ended: its answer to each row, and whether it ended the answer itself.
    """

    losses: list[tuple[float, int]]
    texts: list[str]
    ended: list[bool]

    @property
    def tokens(self) -> int:
        """Trained tokens of all rows."""
        return sum(count for _, count in self.losses)

    @property
    def loss(self) -> float:
        """Mean cross entropy per trained token: every token weighs the same."""
        return sum(total for total, _ in self.losses) / max(self.tokens, 1)
