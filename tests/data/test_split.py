"""Splits and duplicates by content: shares hold roughly, every duplicate is found, memory stays at
16 bytes a row.
"""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data import split
from sftplay.data.split import SeenRows, borders, row_key


def test_shares_are_kept_roughly() -> None:
    edges = borders(0.2, 0.1)
    counts = [0, 0, 0]
    for number in range(20_000):
        counts[edges.split_of(int.from_bytes(row_key(b"%d" % number)))] += 1
    train, val, test = (count / 20_000 for count in counts)
    assert (train, val, test) == pytest.approx((0.7, 0.2, 0.1), abs=0.01)


@pytest.mark.parametrize(("val", "test", "place"), [(0, 0, 0), (1, 0, 1), (0, 1, 2)])
def test_all_or_nothing(val: float, test: float, place: int) -> None:
    edges = borders(val, test)
    assert {edges.split_of(key) for key in (0, 1, 1 << 63, (1 << 64) - 1)} == {place}


def test_the_key_does_not_change_between_versions() -> None:
    assert row_key(b'[{"role":"user","content":"Hi"}]').hex() == "9d9290242e9f4f29"


@given(st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=12), st.booleans())
def test_duplicates_are_those_seen_before(batches: list[list[int]], many: bool) -> None:
    few, split._FEW = split._FEW, 0 if many else 100_000
    try:
        rows, seen = SeenRows(), set()
        for keys in batches:
            expected = []
            for place, key in enumerate(keys):
                if key in seen:
                    expected.append(place)
                seen.add(key)
            assert rows.duplicates(keys) == expected
    finally:
        split._FEW = few


def test_memory_for_many_rows_is_bounded() -> None:
    chance, rows, total = random.Random(1), SeenRows(), 400_000
    rows.duplicates(range(split._FEW + 1))  # numpy is imported before the measurement
    rows = SeenRows()
    tracemalloc.start()
    for _ in range(total // 4000):
        rows.duplicates([chance.getrandbits(64) for _ in range(4000)])
    tracemalloc.reset_peak()
    rows.duplicates([chance.getrandbits(64) for _ in range(4000)])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 9 * total
    assert peak < 16 * total + 1_000_000
