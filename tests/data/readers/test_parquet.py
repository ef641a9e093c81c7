"""Parquet: rows by groups, plain or packed once more; damage is named."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet as written

from sftplay.data.readers import parquet
from sftplay.data.readers.stream import open_source
from sftplay.errors import DataError

ROWS: list[dict[str, Any]] = [
    {
        "id": n,
        "messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": None}],
    }
    for n in range(5000)
]


def read(path: Path) -> list[tuple[int, Any]]:
    with open_source(path, path.name, text=False) as source:
        pieces = list(parquet.read(source, path))
    assert sum(piece.used for piece in pieces) == path.stat().st_size
    return [row for piece in pieces for row in piece.values]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "x.parquet", row_group_size=700)
    return tmp_path / "x.parquet"


def test_rows_of_all_groups_in_order(file: Path) -> None:
    assert read(file) == list(enumerate(ROWS, 1))


def test_packed_once_more(file: Path) -> None:
    packed = file.with_suffix(".parquet.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert read(packed) == list(enumerate(ROWS, 1))


def test_no_rows(tmp_path: Path) -> None:
    written.write_table(pyarrow.table({"q": []}), tmp_path / "x.parquet")
    with open_source(tmp_path / "x.parquet", "x", text=False) as source:
        assert [piece.values for piece in parquet.read(source, tmp_path / "x.parquet")] == []


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-100], lambda raw: raw[:2000] + bytes(2000) + raw[4000:], lambda _: b"PAR1"],
)
def test_damage_is_named(file: Path, damage: Any) -> None:
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match="not a readable parquet file"):
        read(file)
