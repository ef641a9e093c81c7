"""Rows that are too long, against a plain loop over lists."""

from __future__ import annotations

from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.tokenizing.artifact import IGNORED, TokenBatch
from sftplay.data.tokenizing.length_limit import LengthLimit

Rows = list[list[tuple[int, bool]]]
ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=9),
    min_size=1,
    max_size=9,
)


def batch(rows: Rows, first: int = 0) -> TokenBatch:
    return TokenBatch(
        [str(number) for number in range(first, first + len(rows))],
        np.array([len(row) for row in rows], np.int64),
        np.array([token for row in rows for token, _ in row], np.int32),
        np.array([token if on else IGNORED for row in rows for token, on in row], np.int32),
    )


def as_rows(given_batch: TokenBatch) -> dict[str, list[tuple[int, int]]]:
    ends = np.cumsum(given_batch.lengths)
    pairs = list(zip(given_batch.tokens.tolist(), given_batch.labels.tolist(), strict=True))
    return {
        name: pairs[end - length : end]
        for name, end, length in zip(given_batch.ids, ends, given_batch.lengths, strict=True)
    }


@given(rows=ROWS, limit=st.integers(1, 9), policy=st.sampled_from(["drop", "truncate"]))
def test_dropping_and_cutting(rows: Rows, limit: int, policy: Literal["drop", "truncate"]) -> None:
    lengths = LengthLimit(limit, policy)
    kept = as_rows(lengths.apply(batch(rows)))
    expected, dropped, truncated = {}, 0, 0
    for number, row in enumerate(rows):
        labelled = [(token, token if on else IGNORED) for token, on in row]
        if len(row) <= limit:
            expected[str(number)] = labelled
        elif policy == "truncate" and any(on for _, on in row[:limit]):
            expected[str(number)] = labelled[:limit]
            truncated += 1
        else:
            dropped += 1
    assert kept == expected
    assert (lengths.dropped, lengths.truncated) == (dropped, truncated)
    assert lengths.too_long == dropped + truncated == sum(len(row) > limit for row in rows)


@given(first=ROWS, second=ROWS)
def test_quantiles_are_those_of_all_rows(first: Rows, second: Rows) -> None:
    lengths = LengthLimit(100, "error")
    lengths.apply(batch(first))
    lengths.apply(batch(second, len(first)))
    sizes = sorted(len(row) for row in first + second)
    assert lengths.quantiles()["max"] == sizes[-1]
    assert lengths.quantiles()["p50"] in sizes
    assert sum(size <= lengths.quantiles()["p90"] for size in sizes) >= 0.9 * len(sizes)


def test_the_error_names_rows_and_what_would_do() -> None:
    lengths = LengthLimit(10, "error")
    lengths.apply(batch([[(1, True)] * 70, [(1, True)] * 5] * 4))
    refused = lengths.refuse(None)
    assert (
        "4 of 8 rows are longer than model.max_length (10 tokens): 0 (70), 2 (70), 4 (70), 6 (70)\n"
        in refused.what
    )
    assert "--set model.max_length=128" in refused.todo
    assert "--set model.max_length=100" in lengths.refuse(100).todo
    assert "--set" not in lengths.refuse(64).todo
    assert LengthLimit(10, "error").quantiles() == {}
