"""Raw files as UTF-8 bytes: unpacked frame by frame, foreign encodings and damage refused by name."""

import gzip
import random
from pathlib import Path

import pytest
import zstandard

from sftplay.data.readers.stream import HEAD, open_source, refuse_cr_only
from sftplay.errors import DataError, NotFoundError

TEXT = b"".join(b"%d %d\n" % (n, random.Random(n).getrandbits(64)) for n in range(20_000))  # 0.5 MB


def contents(path: Path, size: int = 10_000) -> bytes:
    with open_source(path, path.name) as source:
        return b"".join(iter(lambda: source.read(size), b""))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.parametrize("size", [1000, HEAD, 10_000_000])
def test_content_comes_out_whole(tmp_path: Path, pack: type[bytes], size: int) -> None:
    (tmp_path / "x").write_bytes(pack(TEXT))
    assert contents(tmp_path / "x", size) == TEXT


def test_packed_files_may_be_joined(tmp_path: Path) -> None:
    half = len(TEXT) // 2
    for pack in (gzip.compress, zstandard.compress):
        (tmp_path / "x").write_bytes(pack(TEXT[:half]) + pack(TEXT[half:]))
        assert contents(tmp_path / "x") == TEXT


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("cut", [1, 5, 1000, 100_000])
def test_a_cut_off_file_is_never_taken_for_whole(
    tmp_path: Path, pack: type[bytes], cut: int
) -> None:
    (tmp_path / "x").write_bytes(pack(TEXT)[:-cut])
    with pytest.raises(DataError, match=r"cut off|damaged"):
        contents(tmp_path / "x")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_damaged_file_is_refused(tmp_path: Path, pack: type[bytes]) -> None:
    packed = bytearray(pack(TEXT))
    packed[len(packed) // 2 : len(packed) // 2 + 200] = bytes(200)
    (tmp_path / "x").write_bytes(packed)
    with pytest.raises(DataError, match=r"damaged|cut off"):
        contents(tmp_path / "x")


def test_progress_counts_the_packed_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(TEXT))
    used = 0
    with open_source(tmp_path / "x", "x") as source:
        while source.read(5000):
            used += source.used()
        used += source.used()
    assert used == (tmp_path / "x").stat().st_size


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_foreign_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x").write_bytes('{"question": "wer da?"}\n'.encode(encoding))
    with pytest.raises(DataError, match=encoding.upper().replace("-LE", "LE").replace("-BE", "BE")):
        contents(tmp_path / "x")


def test_a_byte_order_mark_is_taken_off(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf{}")
    with open_source(tmp_path / "x", "x") as source:
        assert (source.read(10), source.encoding, source.offset) == (
            b"{}",
            "UTF-8 with byte-order mark",
            3,
        )


def test_line_ends() -> None:
    refuse_cr_only(b"a\r\nb\r\n", "x")
    with pytest.raises(DataError, match="offset 1"):
        refuse_cr_only(b"a\rb\r", "x")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        contents(tmp_path / "x")
