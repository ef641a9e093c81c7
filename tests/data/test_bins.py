"""Bars of a histogram: nothing is lost, borders are round, a long tail does not hide the rest."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.bins import ABOUT, bins_of


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=300))
def test_every_value_is_in_its_bar(values: list[int]) -> None:
    bars = bins_of(sorted(Counter(values).items()))
    assert sum(count for *_, count in bars) == len(values)
    assert all(count == sum(start <= value < end for value in values) for start, end, count in bars)
    assert len(bars) <= 2 * ABOUT + 2


def test_one_giant_among_many() -> None:
    bars = bins_of([(100, 500), (200, 499), (10_000_000, 1)])
    assert len(bars) > 10
    assert bars[-1][1:] == [10_000_001, 1]
    assert bins_of([]) == []
