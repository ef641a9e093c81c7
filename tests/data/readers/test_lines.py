"""JSON Lines: whatever the blocks, the lines are those of the file, with their numbers; memory is
bounded.
"""

import io
import tracemalloc
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.readers import lines
from sftplay.data.readers.stream import Source
from sftplay.data.rejects import Reject
from sftplay.errors import DataError


class Trickle(io.RawIOBase):
    """A stream that makes up its bytes as they are read."""

    def __init__(self, size: int, end: bytes) -> None:
        self.left, self.end = size, end

    def read(self, size: int = -1) -> bytes:
        if self.left:
            given, self.left = min(size, self.left), max(self.left - size, 0)
            return b"x" * given
        given_end, self.end = self.end, b""
        return given_end


def source_of(content: bytes) -> Source:
    stream = io.BytesIO(content)
    return Source("x.jsonl", stream, stream, stream.read(8), "none", "UTF-8", 0)


def rows_of(content: bytes) -> tuple[list[tuple[int, bytes]], list[Reject]]:
    rejects: list[Reject] = []
    found: list[tuple[int, bytes]] = []
    for piece in lines.read(source_of(content)):
        assert content[piece.offset :].startswith(piece.lines)
        found += [(line, text or b"") for line, text, _ in piece.parsed(rejects, "x.jsonl")]
    return found, rejects


@given(
    st.lists(
        st.sampled_from([b"1", b'"two"', b"", b"[3, 3]", b'"' + b"l" * 40 + b'"']), max_size=30
    ),
    st.integers(3, 50),
)
def test_any_block_size_gives_the_same_lines(content: list[bytes], block: int) -> None:
    before, lines.PIECE_BYTES = lines.PIECE_BYTES, block
    try:
        found, rejects = rows_of(b"\n".join(content))
    finally:
        lines.PIECE_BYTES = before
    assert found == [(number, line) for number, line in enumerate(content, 1) if line]
    assert rejects == []


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(3, 30), st.booleans())
def test_lines_over_the_limit_are_set_aside_and_no_other(
    sizes: list[int], block: int, ends: bool
) -> None:
    content = b"\n".join(b"7" * size for size in sizes) + (b"\n" if ends else b"")
    before = lines.PIECE_BYTES, lines.MAX_ROW_BYTES
    lines.PIECE_BYTES, lines.MAX_ROW_BYTES = block, 30
    try:
        found, rejects = rows_of(content)
    finally:
        lines.PIECE_BYTES, lines.MAX_ROW_BYTES = before
    cut = [(number, size) for number, size in enumerate(sizes, 1) if size > 30]
    assert [(bad.line, bad.detail.split()[0]) for bad in rejects] == [
        (number, str(size)) for number, size in cut
    ]
    assert found == [
        (number, b"7" * size) for number, size in enumerate(sizes, 1) if 0 < size <= 30
    ]


def test_a_line_of_a_gigabyte_is_set_aside_in_little_memory() -> None:
    stream = Trickle(1 << 30, b'\n{"a": 1}\n')
    source = Source(
        "x.jsonl",
        cast(io.BufferedIOBase, io.BytesIO()),
        cast(io.BufferedIOBase, stream),
        b"x",
        "none",
        "UTF-8",
        0,
    )
    rejects: list[Reject] = []
    tracemalloc.start()
    rows = [row for piece in lines.read(source) for row in piece.parsed(rejects, "x.jsonl")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == [(2, b'{"a": 1}', {"a": 1})]
    assert [(bad.line, bad.reason) for bad in rejects] == [(1, "a row of over 16 MiB")]
    assert len(rejects[0].row) < 2000
    assert peak < 100 << 20


@pytest.mark.parametrize(
    "content",
    [
        b'[{"a": 1},\n{"a": 2}]',
        b'[\n  {"a": 1}\n]',
        b'[{"a": 1}]',
        b'[["q", "a"],\n["r", "b"]]',
        b'  [{"a": [\n1]}]',
    ],
)
def test_an_array_is_named(content: bytes) -> None:
    with pytest.raises(DataError, match="one JSON array"):
        lines.refuse_array(Source("x", io.BytesIO(), io.BytesIO(), content, "none", "UTF-8", 0))


@pytest.mark.parametrize(
    "content",
    [
        b'["q", {"answer": "a"}]\n["r", {"answer": "b"}]\n',
        b'["q", {"answer": "a"}]',
        b'[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]',
        b'[{"user": "a"}, {"answer": "b"}]\n[{"user": "c"}, {"answer": "d"}]\n',
        b'{"a": 1}',
        b"",
    ],
)
def test_rows_that_are_lists_are_rows(content: bytes) -> None:
    lines.refuse_array(Source("x", io.BytesIO(), io.BytesIO(), content, "none", "UTF-8", 0))
