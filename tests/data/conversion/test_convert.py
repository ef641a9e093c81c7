"""One piece of rows: what a worker makes of it, and how duplicates are cut out of its lines."""

from array import array

import orjson
import pytest

from sftplay.data.conversion.convert import ConversionTask, SplitRows, convert, measure
from sftplay.data.formats.row_format import RowFormat
from sftplay.data.readers.piece import Piece
from sftplay.data.rejects import BadRowError
from sftplay.data.split import borders
from sftplay.errors import DataError

QA = RowFormat("question_answer", "fields", user="question", assistant="answer")


def work(lines: bytes) -> ConversionTask:
    return ConversionTask(
        0,
        "x.jsonl",
        QA,
        borders(0.3, 0.2),
        Piece(used=len(lines), line=11, lines=lines, offset=1000),
    )


def test_rejects_are_in_the_order_of_lines() -> None:
    done = convert(
        work(b'{"question": "q"}\nnonsense\n\nnull\n{"question": "q", "answer": "a"}\n["a"]')
    )
    assert [bad.line for bad in done.rejects] == [11, 12, 14, 16]
    assert done.seen == 5
    assert sum(len(rows.keys) for rows in done.splits) == 1


def test_bytes_that_are_not_utf8_are_named_with_their_offset() -> None:
    with pytest.raises(DataError) as caught:
        convert(work(b'{"question": "q", "answer": "a"}\n{"question": "caf\xe9"}'))
    assert caught.value.where == "x.jsonl:12"
    assert "0xe9 at offset 1050" in caught.value.what


def test_ten_megabytes_in_one_answer() -> None:
    done = convert(work(orjson.dumps({"question": "q", "answer": "é" * 5_000_000})))
    assert [tuple(rows.answered) for rows in done.splits if rows.keys] == [(5_000_000,)]


def test_a_nul_character_is_refused() -> None:
    with pytest.raises(BadRowError, match="NUL"):
        measure([{"role": "user", "content": "a\x00"}])
    assert measure(
        [{"role": "user", "content": "ab\\u0000"}, {"role": "assistant", "content": "c"}]
    ) == (8, 1)


def test_rows_without_some() -> None:
    lines = [b"one\n", b"two two\n", b"three\n"]
    rows = SplitRows(
        b"".join(lines),
        array("Q", [1, 2, 3]),
        array("L", map(len, lines)),
        array("L", [4, 5, 6]),
        array("L", [7, 8, 9]),
    )
    left = rows.without([1])
    assert left.lines == b"one\nthree\n"
    assert [list(column) for column in (left.keys, left.sizes, left.asked, left.answered)] == [
        [1, 3],
        [4, 6],
        [4, 6],
        [7, 9],
    ]
    assert rows.without([]) is rows
