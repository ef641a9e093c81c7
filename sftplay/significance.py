"""Names of the metrics, and significance of a difference: what stages and host share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

METRICS: Mapping[str, str] = {
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
}  # of texts, in the order in which they are shown
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
