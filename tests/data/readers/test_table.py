"""csv and tsv: rows with the line they begin in, delimiters by the header, nothing swallowed by a
lost quote.
"""

import io
from typing import Any

import pytest

from sftplay.data.readers import table
from sftplay.data.readers.stream import Source
from sftplay.errors import DataError


def read(
    content: bytes, *, tabs: bool = False
) -> tuple[list[tuple[int, Any]], list[tuple[int, str]], str]:
    """((line, row) …, (line, reason) …, note)."""
    stream = io.BytesIO(content)
    source = Source("x.csv", stream, stream, stream.read(1 << 16), "none", "UTF-8", 0)
    pieces = list(table.read(source, tabs=tabs))
    rows = [row for piece in pieces for row in piece.values]
    return (
        rows,
        [(bad.line, bad.reason) for piece in pieces for bad in piece.rejects],
        pieces[-1].note,
    )


def test_quotes_line_ends_and_delimiters_inside_fields() -> None:
    rows, bad, _ = read(b'q,a\r\n"one, ""1""","two\r\nlines"\r\n\r\nx,y\r\n')
    assert rows == [(2, {"q": 'one, "1"', "a": "two\r\nlines"}), (5, {"q": "x", "a": "y"})]
    assert bad == []


@pytest.mark.parametrize(
    ("mark", "note"), [(b",", ""), (b";", "delimiter ;"), (b"\t", "delimiter tab")]
)
def test_the_header_says_the_delimiter(mark: bytes, note: str) -> None:
    assert read(b"q%ba\nx%by, z; w\n".replace(b"%b", mark).replace(b", z; w", b""))[0::2] == (
        [(2, {"q": "x", "a": "y"})],
        note,
    )


def test_tabs() -> None:
    assert read(b"q, more\ta\nx\ty, z\n", tabs=True)[0] == [(2, {"q, more": "x", "a": "y, z"})]


def test_a_row_with_too_many_or_few_columns_is_set_aside() -> None:
    rows, bad, _ = read(b"q,a\n1,2,3\nonly\nx,y\n")
    assert rows == [(4, {"q": "x", "a": "y"})]
    assert bad == [(2, "wrong number of columns"), (3, "wrong number of columns")]


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b'q,a\nx,y\n"lost,y\nx,y\n', "x.csv:3", "quoting"),
        (b'q,a\n"x" y,z\n', "x.csv:2", "quoting"),
        (b"q,a\nx,caf\xe9\n", "x.csv:2", "0xe9 at offset 9"),
        (b"q,a,q\nx,y,z\n", "x.csv:1", "two columns are named `q`"),
    ],
)
def test_faults_of_the_file(content: bytes, where: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read(content)
    assert caught.value.where == where
    assert what in caught.value.what


def test_a_large_file_comes_in_pieces() -> None:
    content = b"q,a\n" + b"".join(b"%d,%d\n" % (n, n) for n in range(10_000))
    stream = io.BytesIO(content)
    pieces = list(
        table.read(Source("x", stream, stream, stream.read(100), "none", "UTF-8", 0), tabs=False)
    )
    assert len(pieces) > 3
    assert [line for piece in pieces for line, _ in piece.values] == list(range(2, 10_002))
    assert sum(piece.used for piece in pieces) == len(content)


def test_excel_names_the_delimiter_in_a_line_of_its_own() -> None:
    rows, bad, note = read(b"sep=;\r\nq;a\r\nx;y, z\r\n")
    assert (rows, bad, note) == ([(3, {"q": "x", "a": "y, z"})], [], "delimiter ;")


def test_commas_in_the_names_of_columns_do_not_choose_the_delimiter() -> None:
    rows, _, note = read(b"question, context, note;answer\r\none, two;a\r\nthree;b\r\n")
    assert rows[0] == (2, {"question, context, note": "one, two", "answer": "a"})
    assert note == "delimiter ;"


def test_a_title_above_the_header_is_left_out_and_noted() -> None:
    rows, bad, note = read(b"Export of 2024-05-01,\n\nuser,assistant\nq,a\n")
    assert (rows, bad, note) == (
        [(4, {"user": "q", "assistant": "a"})],
        [],
        "2 lines above the header left out",
    )


def test_texts_with_delimiters_in_one_column_stay_whole() -> None:
    assert read(b'text\nhello; you\n"a,b"\n')[0] == [
        (2, {"text": "hello; you"}),
        (3, {"text": "a,b"}),
    ]


def test_a_carriage_return_in_a_field_without_quotes() -> None:
    with pytest.raises(DataError) as caught:
        read(b"q,a\nline\rbreak,ab\nx,y\n")
    assert caught.value.where == "x.csv:2"
    assert "carriage return" in caught.value.what
    assert "quotes" in caught.value.todo


def test_many_columns_take_no_time_for_each_pair_of_them() -> None:
    names = [f"c{number}" for number in range(20_000)]
    rows, _, _ = read(",".join(names).encode() + b"\n" + b",".join([b"x"] * len(names)) + b"\n")
    assert len(rows[0][1]) == len(names)
