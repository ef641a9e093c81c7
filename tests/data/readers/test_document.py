"""JSON documents: cut into rows without being parsed, at any size of window; what is wrong is named
with its place.
"""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.readers import document
from sftplay.data.readers.stream import Source
from sftplay.errors import DataError
from tests.data.readers.documents import TABLE, read

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "[{", "}]", "a, b: c"]
)
values = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
documents = st.lists(values, max_size=8)


@given(documents, st.sampled_from([None, 0, 2]), st.integers(1, 60), st.booleans())
def test_an_array_gives_its_values(
    rows: list[Any], indent: int | None, window: int, ascii_only: bool
) -> None:
    content = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    found, _ = read(b"  " + content + b"\r\n", window)
    assert [row for _, row in found] == rows


@given(documents, st.integers(1, 60), st.integers(0, 400))
def test_a_cut_off_document_never_passes_for_a_whole_one(
    rows: list[Any], window: int, cut: int
) -> None:
    content = json.dumps(rows, indent=1).encode()
    cut = 1 + cut % len(content)  # bytes cut off, at least one; all of them leave an empty file
    if cut < len(content):
        with pytest.raises(DataError, match=r"x\.json:\d+:\d+"):
            read(content[:-cut], window)


def test_line_numbers() -> None:
    content = b'[\n {"a": 1},\n\n {"a":\n  2}, {"a": 3}\n]'
    for window in (1, 5, 1000):
        assert read(content, window)[0] == [(2, {"a": 1}), (4, {"a": 2}), (5, {"a": 3})]


def test_an_object_that_holds_rows() -> None:
    content = b'{"version": "1", "data": [{"q": "a"}, {"q": "b"}], "tags": ["x"], "more": [["u", "a"]], "n": {"of": [{}]}}'
    for window in (1, 30, 1000):
        rows, note = read(content, window)
        assert [row for _, row in rows] == [{"q": "a"}, {"q": "b"}, ["u", "a"]]
        assert note == "rows under `data`, `more`; not used: `version`, `tags`, `n`"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "x"}]},
        {"user": "a", "assistant": "b"},
        {},
        {"prompt": [{"a": 1}]},
    ],
)
def test_an_object_that_is_a_row(row: dict[str, Any]) -> None:
    assert read(json.dumps(row, indent=1).encode(), 7) == ([(1, row)], "")


@pytest.mark.parametrize(
    ("content", "place", "what"),
    [
        (b'[{"a": 1} {"b": 2}]', "1:11", "`,` or `]`"),
        (b'[{"a": 1}]\n\n[]', "3:1", "follows its end"),
        (b'{"a": 1}\n{"a": 2}', "2:1", "one a line"),
        (b'[{"a": "x}, \n{"b": 2}]', "1:2", "ends in the middle"),
        (b'[{"a": 1},', "1:11", "ends"),
        (b'{"data" [1]}', "1:9", "`:`"),
        (b"{data: [1]}", "1:2", "key in quotes"),
        (b"[1, ]", "1:5", "value is missing"),
        (b"hello", "1:1", "an array or an object"),
        (b'{"a": 1', "1:7", "ends in the middle"),
        (b'{"a": "1"', "1:10", "ends after"),
    ],
)
def test_faults_of_the_document(content: bytes, place: str, what: str) -> None:
    for window in (1, 1000):
        with pytest.raises(DataError) as caught:
            read(content, window)
        assert caught.value.where == f"x.json:{place}"
        assert what in caught.value.what


def test_a_single_row_with_earlier_turns() -> None:
    row = {
        "instruction": "now?",
        "output": "rain",
        "history": [["q", "a"]],
        "tools": [{"name": "f"}],
    }
    assert [found for _, found in read(json.dumps(row).encode())[0]] == [row]


def test_objects_one_after_the_other() -> None:
    content = "\n".join(json.dumps(row, indent=2) for row in TABLE).encode()
    stream = io.BytesIO(content)
    pieces = list(
        document.read(Source("x", stream, stream, stream.read(9), "none", "UTF-8", 0), several=True)
    )
    assert [json.loads(text) for piece in pieces for _, text in piece.texts] == TABLE


def test_rows_under_the_names_of_splits_stay_apart() -> None:
    content = json.dumps({"train": TABLE[:9], "test": TABLE[9:], "note": "x"}).encode()
    stream = io.BytesIO(content)
    pieces = list(document.read(Source("x", stream, stream, stream.read(9), "none", "UTF-8", 0)))
    assert [(piece.split, len(piece.texts)) for piece in pieces] == [("train", 9), ("test", 3)]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{"data": [["a", "q"]], "columns": ["answer", "question"]}', "behind the rows"),
        (b'{"user": "q", "assistant": "a", "turns": [["b", "c"]]}', "is a row itself"),
        (b'{"n": 1, "n": 2}', "stands twice"),
    ],
)
def test_an_object_that_can_be_read_in_two_ways_is_refused(content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read(content)
