"""Rows that make the shares of a mix, and sources that miss theirs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.conversion.shares import misses, quotas


def test_it_is_the_share_of_datasets_own_interleaving() -> None:
    from datasets import Dataset, interleave_datasets

    sources = [
        Dataset.from_dict({"of": [name] * count}) for name, count in (("a", 900), ("b", 200))
    ]
    mixed = interleave_datasets(
        sources, probabilities=[0.6, 0.4], seed=1, stopping_strategy="first_exhausted"
    )
    theirs = Counter(mixed["of"])
    ours = quotas([900, 200], [3, 2])
    assert ours == [300, 200]
    assert theirs["b"] == ours[1] and theirs["a"] == pytest.approx(ours[0], rel=0.15)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(1e-3, 1e6)), min_size=1, max_size=6))
def test_no_more_rows_than_there_are_and_no_share_too_small(pairs: list[tuple[int, float]]) -> None:
    found, weights = zip(*pairs, strict=True)
    taken = quotas(found, weights)
    assert all(0 <= n <= count for n, count in zip(taken, found, strict=True))
    some = [
        (n, count, weight) for n, count, weight in zip(taken, found, weights, strict=True) if count
    ]
    if some:
        assert any(n == count for n, count, _ in some)
        rounds = min(count / weight for _, count, weight in some)
        assert all(n >= 1 and abs(n - weight * rounds) <= 1 for n, _, weight in some)


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-9, 1e6)), min_size=1, max_size=40),
)
def test_a_share_that_rows_can_have_is_no_miss(pairs: list[tuple[int, float]]) -> None:
    """No warning if each source has rows, and a place for half a row or more; and none is missed."""
    found, weights = zip(*pairs, strict=True)
    rounds = min(count / weight for count, weight in pairs)
    taken = quotas(found, weights)
    off = {source: weights[source] * rounds for source in misses(taken, weights)}
    if all(weight * rounds >= 0.5 for weight in weights):
        assert not off
    for source, weight in enumerate(weights):
        if weight * rounds < 0.01 and weight < sum(weights) / 10_000:
            assert source in off


@given(st.integers(1, 500), st.lists(st.floats(1, 9), min_size=2, max_size=6), st.data())
def test_a_source_without_its_rows_is_a_miss(
    rounds: int, weights: list[float], data: st.DataObject
) -> None:
    taken = [round(weight * rounds) for weight in weights]
    gone = data.draw(st.integers(0, len(weights) - 1))
    assert gone in misses([0 if one == gone else n for one, n in enumerate(taken)], weights)
    assert misses([0] * len(weights), weights) == []
