"""Numbers to places: scales, ticks at round values, curves thinned and smoothed. Pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` onto pixels from `start` to `end`.

    Attributes:
        log: by the decimal logarithm; `low` is above 0 then.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (
            (value - low) / (high - low) if high > low else 0.5
        )

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values inside."""
        return (
            log_ticks(self.low, self.high, count)
            if self.log
            else linear_ticks(self.low, self.high, count)
        )


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values."""
    step = _round_step(low, high, count)
    if not step:
        return [low]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _round_step(low: float, high: float, count: int) -> float:
    """Return 1, 2 or 5 times a power of ten; 0 if the two values are as good as one."""
    rough = (high - low) / count
    if rough < sys.float_info.min:
        return 0.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if rough <= power * factor * (1 + 1e-9))


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Powers of ten between two positive values; with 2 and 5 between them, or linear ones, where
    those are too few.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**power for power in decades for factor in (1, 2, 5)]
    inside = [value for value in every if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    powers = inside if len(inside) <= count + 2 else [v for v in inside if math.log10(v) % 1 < 1e-9]
    powers = powers[:: max(1, math.ceil(len(powers) / (count + 2)))]
    return (
        powers
        if len(powers) >= 3
        else [value for value in linear_ticks(low, high, count) if value > 0]
    )


def number(value: float) -> str:
    """A value for an axis or a tooltip: 0.0002, 1.25, 12,500, 2.5M."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size >= 1e15:
        return f"{value:.3g}"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if size >= limit:
            return f"{value / limit:.4g}{unit}"
    if size >= 1000:
        return f"{value:,.0f}"
    if 0 < size < 1e-4:
        mantissa, _, power = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(power)}" if power else mantissa
    return f"{value:.4g}"


def thinned(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` points that keep a curve's shape, its ends and its spikes.

    Largest triangle three buckets (Steinarsson, "Downsampling time series for visual
    representation", 2013): of each bucket the point stays that spans the largest triangle with the
    one kept before and the mean of the next bucket.
    """
    if len(points) <= limit or limit < 3:
        return list(points)
    kept, width = [points[0]], (len(points) - 2) / (limit - 2)
    edges = [1 + int(number * width) for number in range(limit - 1)] + [len(points)]
    for start, end, after in zip(edges, edges[1:], edges[2:], strict=False):
        following = points[end:after]
        middle = (
            sum(x for x, _ in following) / len(following),
            sum(y for _, y in following) / len(following),
        )
        area = partial(_area, kept[-1], three=middle)
        kept.append(max(points[start:end], key=area))
    return [*kept, points[-1]]


def _area(one: Point, two: Point, three: Point) -> float:
    return abs((one[0] - three[0]) * (two[1] - one[1]) - (one[0] - two[0]) * (three[1] - one[1]))


def smoothed(points: Sequence[Point], weight: float) -> list[Point]:
    """An exponential moving average without the pull of its start (the correction of Adam,
    arXiv:1412.6980, section 3).

    Args:
        weight: share of the past in each value, from 0 (nothing) to below 1.
    """
    result, average, share = [], 0.0, 1.0
    for x, y in points:
        average, share = weight * average + (1 - weight) * y, share * weight
        result.append((x, average / (1 - share)))
    return result
