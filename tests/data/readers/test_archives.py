"""Files that are not what their name says, told by their first bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sftplay.data.readers.stream import open_source
from sftplay.errors import DataError

ROWS = b'{"user":"q","assistant":"a"}\n' * 40


def tar_of(mode: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        info = tarfile.TarInfo("rows.jsonl")
        info.size = len(ROWS)
        archive.addfile(info, io.BytesIO(ROWS))
    return made.getvalue()


def zip_of(name: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, ROWS)
    return made.getvalue()


def table() -> bytes:
    made = io.BytesIO()
    parquet.write_table(pa.table({"user": ["q"]}), made)
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "what", "todo"),
    [
        (zip_of("rows.jsonl"), "a zip archive", "unzip "),
        (zip_of("[Content_Types].xml"), "an Excel file", "as csv"),
        (tar_of("w"), "a tar archive", "tar xf "),
        (tar_of("w:gz"), "a tar archive", "tar xzf "),
        (tar_of("w:bz2"), "packed by bzip2", "bunzip2 "),
        (tar_of("w:xz"), "packed by xz", "unxz "),
        (table(), "a parquet file", ".parquet"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a pointer of Git LFS",
            "git lfs pull",
        ),
    ],
)
def test_named_for_what_it_is(tmp_path: Path, content: bytes, what: str, todo: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught, open_source(path, "rows.jsonl"):
        pass
    assert what in caught.value.what
    assert todo in caught.value.todo


@pytest.mark.parametrize(
    "content",
    [ROWS, gzip.compress(ROWS, mtime=0), b"PK is short for park\n", b"", b"BZ"],
    ids=["rows", "gzip", "like zip", "empty", "like bzip2"],
)
def test_other_files_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with open_source(path, "rows.jsonl") as source:
        assert source.head in (ROWS, content)


def test_a_clone_without_its_large_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match="pointer of Git LFS"), open_source(path, "x", "parquet"):
        pass
