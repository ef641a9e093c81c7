"""Bootstrap intervals (Efron 1979): how far a metric would move if other rows had been drawn.

Base and tuned model are drawn together, row by row, so that the interval of their difference keeps
what both have in common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROUNDS = 1000
LEVEL = 95  # per cent
_SEED = 0  # the same rows give the same interval

Statistic = Callable[["np.ndarray"], "np.ndarray"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Sums:
    """A metric as a function of sums over rows.

    Attributes:
        rows: what each row adds, shape (rows, parts).
        of: turns sums, shape (rounds, parts), into the metric, shape (rounds,).
    """

    rows: np.ndarray
    of: Statistic


def mean_of(values: list[float]) -> Sums:
    """Return the mean over rows."""
    return Sums(np.array([[value, 1.0] for value in values]), lambda sums: sums[:, 0] / sums[:, 1])


def ratio_of(pairs: list[tuple[float, int]]) -> Sums:
    """Return a quotient of two sums, as the loss per token is: tokens weigh the same, rows do not."""
    return Sums(np.array(pairs, dtype=float), lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1.0))


def intervals(base: Sums, tuned: Sums) -> tuple[Interval, Interval, Interval]:
    """Return the 95 % intervals of base, tuned, and tuned less base, by percentiles."""
    count = len(base.rows)
    draw = np.random.default_rng(_SEED)
    found: list[np.ndarray] = []
    for _ in range(0, ROUNDS, 100):  # a hundred at a time: of 10,000 rows, 8 MB
        times = draw.multinomial(count, np.full(count, 1 / count), size=100)
        found.append(np.stack([one.of(times @ one.rows) for one in (base, tuned)]))
    drawn = np.concatenate(found, axis=1)
    low, high = (100 - LEVEL) / 2, (100 + LEVEL) / 2
    ends = (np.percentile(values, [low, high]) for values in (*drawn, drawn[1] - drawn[0]))
    first, second, third = ((float(a), float(b)) for a, b in ends)
    return first, second, third
