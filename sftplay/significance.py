"""Significance of a difference: the rule that stages and host share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

METRIC_TITLES: Mapping[str, str] = {
    "loss": "loss (nats per token)",
    "perplexity": "perplexity",
    "exact_match": "exact match (0 to 100)",
    "token_f1": "token F1 (0 to 100)",
    "rouge_l": "ROUGE-L (0 to 100)",
    "chrf": "chrF (0 to 100)",
    "ended": "ended by itself (%)",
}  # metric → what tables call it, in their order
LOWER_IS_BETTER = ("loss", "perplexity", "val_loss", "train_loss")
FEWEST_ROWS = 10  # with fewer, a bootstrap interval means nothing
Verdict = Literal["better", "worse", "noise", "few", "unknown"]
MARKS: dict[Verdict, str] = {
    "better": "",
    "worse": "worse",
    "noise": "within noise",
    "few": "too few rows",
    "unknown": "no interval",
}


def judge(
    metric: str, interval: Sequence[float] | None, rows: int, *, lower_is_better: bool = False
) -> Verdict:
    """Say what the difference from the base means.

    Args:
        interval: of the difference, 95 %; None where an older version measured it.
        rows: how many it was measured on.
        lower_is_better: of a metric that is not ours.
    """
    if interval is None:
        return "unknown"
    if rows < FEWEST_ROWS:
        return "few"
    if interval[0] <= 0 <= interval[1]:
        return "noise"
    lower = lower_is_better or metric in LOWER_IS_BETTER
    return "better" if (interval[0] > 0) != lower else "worse"


def titles_of(names: Iterable[str]) -> dict[str, str]:
    """Return metric → title: ours in their order, then others by their names."""
    given = list(names)
    known = {name: title for name, title in METRIC_TITLES.items() if name in given}
    return known | {name: name for name in given if name not in known}


def show_number(value: float, form: str) -> str:
    """Format a metric; one that is too long for a table as a power of ten.

    Args:
        form: of a fixed number of decimals, such as `+.3f`.
    """
    return f"{value:{form}}" if abs(value) < 1e6 else f"{value:{form[:-1]}e}"
