"""The artifact: what is written is read back, and the hash is one of the values and of nothing
else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.tokenizing.artifact import (
    IGNORED,
    TokenBatch,
    ValuesHash,
    batches_of,
    read_split,
    values_hash,
    writing,
)
from sftplay.errors import NotFoundError, StorageError

Row = tuple[str, list[tuple[int, bool]]]
ROWS = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8"), max_size=4),
        st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=8,
)


def batch(rows: list[Row]) -> TokenBatch:
    tokens = [token for _, row in rows for token, _ in row]
    labels = [token if trained else IGNORED for _, row in rows for token, trained in row]
    lengths = np.array([len(row) for _, row in rows], np.int64)
    return TokenBatch(
        [name for name, _ in rows], lengths, np.array(tokens, np.int32), np.array(labels, np.int32)
    )


def write(path: Path, *batches: TokenBatch) -> str:
    with writing(path) as out:
        for each in batches:
            out.write(each)
    return out.values_hash


@given(rows=ROWS, cut=st.integers(0, 8))
def test_written_rows_come_back_and_batches_do_not_matter(
    rows: list[Row], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("split")
    whole = write(folder / "a.arrow", batch(rows))
    parts = write(folder / "b.arrow", *(batch(part) for part in (rows[:cut], rows[cut:]) if part))
    assert whole == parts == values_hash(folder / "a.arrow") == values_hash(folder / "b.arrow")
    found = read_split(folder / "a.arrow").to_pylist()
    assert [(each["id"], each["input_ids"]) for each in found] == [
        (name, [t for t, _ in row]) for name, row in rows
    ]
    assert [each["labels"] for each in found] == [
        [t if on else IGNORED for t, on in row] for _, row in rows
    ]


@pytest.mark.parametrize(
    "other",
    [
        [("a", [(1, True), (2, False)]), ("c", [(3, True)])],
        [("a", [(1, True)]), ("b", [(2, False), (3, True)])],
        [("a", [(1, True), (2, True)]), ("b", [(3, True)])],
        [("a", [(1, True), (4, False)]), ("b", [(3, True)])],
        [("a", [(1, True), (2, False)])],
    ],
)
def test_any_other_value_has_another_hash(other: list[Row]) -> None:
    first, second = ValuesHash(), ValuesHash()
    first.add(batch([("a", [(1, True), (2, False)]), ("b", [(3, True)])]))
    second.add(batch(other))
    assert first.value() != second.value()


def test_counts(tmp_path: Path) -> None:
    with writing(tmp_path / "a.arrow") as out:
        out.write(batch([("a", [(1, True), (2, False)]), ("b", [(3, True)])]))
        out.write(batch([]))
    assert (out.rows, out.tokens, out.trained_tokens, out.longest) == (2, 3, 2, 2)
    assert sum(len(each.ids) for each in batches_of(read_split(tmp_path / "a.arrow"))) == 2


def test_an_empty_split_is_a_split(tmp_path: Path) -> None:
    write(tmp_path / "a.arrow")
    assert read_split(tmp_path / "a.arrow").num_rows == 0


def test_what_is_not_a_split(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such split"):
        read_split(tmp_path / "a.arrow")
    write(tmp_path / "a.arrow", batch([("a", [(1, True)] * 5000)]))
    content = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError):
        read_split(tmp_path / "a.arrow")
    table = pa.table({"id": ["a"]})
    with (
        pa.OSFile(str(tmp_path / "b.arrow"), "wb") as out,
        pa.ipc.new_stream(out, table.schema) as stream,
    ):
        stream.write_table(table)
    with pytest.raises(StorageError, match="not a tokenized split"):
        read_split(tmp_path / "b.arrow")
