"""Measurements of one model in an evaluation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One model on all rows.

    Attributes:
        loss: mean cross entropy per trained token, in nats; tokens: how many there are.
        texts, ended: its answer to each row, and whether it ended the answer itself.
    """

    loss: float
    tokens: int
    texts: list[str]
    ended: list[bool]
