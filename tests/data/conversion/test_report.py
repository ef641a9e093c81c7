"""The report's numbers: quantiles of lengths, names of dropped keys, and the sentences for people."""

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.console import count_of
from sftplay.data.conversion.report import MAX_NAMES, CharacterCounts, add_names


def test_quantiles_of_short_texts_are_exact() -> None:
    values = list(range(1, 101))
    random.Random(0).shuffle(values)
    lengths = CharacterCounts()
    lengths.add(array("L", values[:40]))
    lengths.add(array("L", values[40:]))
    assert lengths.quantiles() == {"min": 1, "p50": 50, "p90": 90, "p99": 99, "max": 100}


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=200))
def test_quantiles_of_long_texts_are_close(values: list[int]) -> None:
    lengths = CharacterCounts()
    lengths.add(array("L", values))
    middle = sorted(values)[(len(values) - 1) // 2]
    assert lengths.quantiles()["p50"] == pytest.approx(middle, rel=1 / 128)


def test_nothing_counted() -> None:
    assert CharacterCounts().quantiles() == {}


def test_a_new_key_in_every_row_does_not_fill_the_report() -> None:
    total: dict[str, int] = {}
    add_names(total, {f"key{n}": 1 for n in range(1000)})
    assert len(total) == MAX_NAMES + 1
    assert sum(total.values()) == 1000


def test_count_of() -> None:
    assert (count_of(1), count_of(0), count_of(7473, "exact duplicate")) == (
        "1 row",
        "0 rows",
        "7,473 exact duplicates",
    )
