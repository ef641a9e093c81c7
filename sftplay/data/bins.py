"""Counted lengths in about thirty bars with round borders; a long tail is put into the last one, so
that it hides nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

ABOUT = 30


def bins_of(counted: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return [from, to, how many] for each bar, `to` excluded; the last one continues to the longest.

    Args:
        counted: (length, how many), by length.
    """
    if not counted:
        return []
    low, high = counted[0][0], _end(counted)
    step = _round_step((high - low) / ABOUT)
    first, last = low // step, high // step
    counts = [0] * (last - first + 1)
    for value, count in counted:
        counts[min(value // step, last) - first] += count
    bars = [
        [(first + place) * step, (first + place + 1) * step, count]
        for place, count in enumerate(counts)
    ]
    bars[-1][1] = max(bars[-1][1], counted[-1][0] + 1)
    return bars


def _end(counted: Sequence[tuple[int, int]]) -> int:
    """Find where the tail begins: twice the length that 99 % of the rows keep to, or the longest."""
    seen, total = 0, sum(count for _, count in counted)
    for value, count in counted:
        seen += count
        if seen >= 0.99 * total:
            return min(2 * value, counted[-1][0])
    return counted[-1][0]


def _round_step(rough: float) -> int:
    """Return 1, 2 or 5 times a power of ten, `rough` at least."""
    power = 1
    while power * 10 < rough:
        power *= 10
    return next((power * factor for factor in (1, 2, 5) if power * factor >= rough), power * 10)
