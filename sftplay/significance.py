"""Significance of a difference: the rule that stages and host share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

LOWER_IS_BETTER = ("loss", "perplexity", "val_loss", "train_loss")
FEWEST_ROWS = 10  # with fewer, a bootstrap interval means nothing
Verdict = Literal["better", "worse", "noise", "unknown"]
MARKS: dict[Verdict, str] = {
    "better": "",
    "worse": "worse",
    "noise": "within noise",
    "unknown": "no interval",
}


def judge(metric: str, interval: Sequence[float] | None, rows: int) -> Verdict:
    """Say what the difference from the base means.

    Args:
        interval: of the difference, 95 %; None where an older version measured it.
        rows: how many it was measured on.
    """
    if interval is None:
        return "unknown"
    if rows < FEWEST_ROWS or interval[0] <= 0 <= interval[1]:
        return "noise"
    return "better" if (interval[0] > 0) != (metric in LOWER_IS_BETTER) else "worse"
