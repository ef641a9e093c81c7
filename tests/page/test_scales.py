"""Scales, ticks and thinning."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftplay.page.scales import Scale, linear_ticks, log_ticks, number, smoothed, thinned

finite = st.floats(-1e9, 1e9, allow_nan=False)


@given(finite, finite, st.integers(2, 10))
@example(0.0, 5e-324, 2)  # a difference that can't be divided
def test_ticks_are_inside_and_rise(one: float, two: float, count: int) -> None:
    low, high = sorted((one, two))
    ticks = linear_ticks(low, high, count)
    room = max(1e-6, (high - low) * 1e-6)
    assert all(low - room <= tick <= high + room for tick in ticks)
    assert ticks == sorted(ticks)
    assert len(ticks) <= count + 2


def test_ticks_are_round() -> None:
    assert linear_ticks(0.37, 2.4, 5) == [0.5, 1.0, 1.5, 2.0]
    assert log_ticks(0.01, 100, 5) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert log_ticks(0.4, 3, 5) == pytest.approx([0.5, 1, 2])


def test_a_scale_of_one_value_draws_it_in_the_middle() -> None:
    assert Scale(5, 5, 0, 100)(5) == 50
    assert Scale(1, 100, 0, 100, log=True)(10) == pytest.approx(50)


def test_numbers_are_short() -> None:
    values = (0, 0.0002, 2e-5, 1.25, 999.99, 12500, 2_500_000, 1e10, -3.5, math.inf)
    assert [number(value) for value in values] == [
        *("0", "0.0002", "2e-5", "1.25", "1000", "12,500", "2.5M", "10G", "-3.5", "inf")
    ]


@given(st.lists(st.tuples(finite, finite), max_size=300), st.integers(3, 60))
def test_thinning_keeps_ends_and_takes_true_points_in_order(
    points: list[tuple[float, float]], limit: int
) -> None:
    points = sorted(points)
    kept = thinned(points, limit)
    assert len(kept) == min(limit, len(points))
    assert kept[:1] == points[:1]
    assert kept[-1:] == points[-1:]
    assert kept == sorted(kept)
    assert set(kept) <= set(points)


def test_thinning_keeps_a_spike() -> None:
    points = [(float(x), 0.0) for x in range(10_000)]
    points[7123] = (7123.0, 9.0)
    assert (7123.0, 9.0) in thinned(points, 200)


def test_smoothing_begins_at_the_first_value_and_follows() -> None:
    assert smoothed([(0, 8.0), (1, 8.0), (2, 8.0)], 0.9) == [
        (0, pytest.approx(8)),
        (1, pytest.approx(8)),
        (2, pytest.approx(8)),
    ]
    rising = smoothed([(x, float(x)) for x in range(50)], 0.5)
    assert 47 < rising[-1][1] < 49
    assert smoothed([], 0.5) == []
