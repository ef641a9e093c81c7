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
    with open_source(path, path.name, "parquet") as source:
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
    with open_source(tmp_path / "x.parquet", "x", "parquet") as source:
        assert [piece.values for piece in parquet.read(source, tmp_path / "x.parquet")] == []


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-100], lambda raw: raw[:2000] + bytes(2000) + raw[4000:], lambda _: b"PAR1"],
)
def test_damage_is_named(file: Path, damage: Any) -> None:
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match="not a readable parquet file"):
        read(file)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["answer", "answer"])
    written.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="two columns are named `answer`"):
        read(tmp_path / "x.parquet")


def read_arrow(path: Path) -> list[tuple[int, Any]]:
    with open_source(path, path.name, "arrow") as source:
        return [row for piece in parquet.read_arrow(source, path) for row in piece.values]


def test_what_datasets_saves_to_disk(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    (path,) = (tmp_path / "saved").glob("*.arrow")
    assert read_arrow(path) == list(enumerate(ROWS, 1))


def test_arrow_in_the_file_format_and_packed(tmp_path: Path) -> None:
    table = pyarrow.Table.from_pylist(ROWS)
    with pyarrow.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as out:
        out.write_table(table, max_chunksize=700)
    assert read_arrow(tmp_path / "x.arrow") == list(enumerate(ROWS, 1))
    (tmp_path / "x.arrow.gz").write_bytes(gzip.compress((tmp_path / "x.arrow").read_bytes()))
    assert read_arrow(tmp_path / "x.arrow.gz") == list(enumerate(ROWS, 1))
    (tmp_path / "x.arrow").write_bytes(b"ARROW1\0\0")
    with pytest.raises(DataError, match="not a readable Arrow file"):
        read_arrow(tmp_path / "x.arrow")
