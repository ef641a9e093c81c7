"""Rows of each source that make the shares of given weights, and sources that miss theirs.

Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt


def quotas(found: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Return how many rows of each source are taken: by their weights, as many as the source that
    ends first allows. Sources without rows are passed over.
    """
    ratios = [count / weight for count, weight in zip(found, weights, strict=True) if count]
    rounds = min(ratios, default=0.0)
    return [
        min(count, max(1, int(weight * rounds + 0.5))) if count else 0
        for count, weight in zip(found, weights, strict=True)
    ]


def misses(counts: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Return the sources whose rows are not those that their weights ask for.

    `quotas` rounds, so with n rows of k sources one with the share s is at most
    (1 + s (k - 2)) / 2 rows away. Rows that moved since (near duplicates, a val split that was too
    small) did so by their hashes, that is by chance: two standard deviations of drawing n rows are
    allowed as well. A source that is asked for and has no row is one of them in any case.
    """
    rows, whole = sum(counts), sum(weights)
    found: list[int] = []
    if not rows:
        return found
    for source, (count, weight) in enumerate(zip(counts, weights, strict=True)):
        share = weight / whole
        rounding = (1 + share * (len(counts) - 2)) / 2
        allowed = rounding + 2 * sqrt(rows * share * (1 - share))
        if abs(count - rows * share) > allowed or (not count and rows * share >= rounding):
            found.append(source)
    return found
