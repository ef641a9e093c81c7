"""The straight way: a raw line whose texts are carried over gives the very bytes that parsing and writing it would give."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftplay.data import convert
from sftplay.data.convert import Converted, Work
from sftplay.data.formats.plan import Plan
from sftplay.data.readers.piece import Piece
from sftplay.data.split import borders
from sftplay.data.straight import straight_for

PLANS = {
    "qa": Plan("question_answer", "fields", user="question", assistant="answer", system="system"),
    "alpaca": Plan("alpaca", "fields", user="question", assistant="answer", extra="input", system="system"),
    "same": Plan("fields", "fields", user="question", assistant="answer", extra="answer"),
}
PIECES = [
    *(
        "a",
        "two words",
        " ",
        "\n",
        "\t",
        "\r",
        "\x00",
        "\x1f",
        "\x7f",
        '"',
        "\\",
        "/",
        "é",
        "“",
        "🦊",
        "\u2028",
        "\ufffd",
        "Ã©",
    ),
    *('", "answer": "', '","answer":"', '": "', "</think>", "<think>", "x\\", '\\"', "\u00a0", "{}", ":"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
VALUES = st.one_of(TEXTS, TEXTS, TEXTS, TEXTS, st.sampled_from([None, 1, True, [], {"a": "b"}, 1.5]))
KEYS = st.sampled_from(["question", "answer", "input", "system", "other", "a: b", 'a"'])
SEPARATORS = st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")])


@st.composite
def lines(draw: Any) -> bytes:
    """A line of JSON: mostly a row, at times with a key twice, blanks, escapes nobody needs, or cut off."""
    pairs = [("question", draw(VALUES)), ("answer", draw(VALUES)), *draw(st.lists(st.tuples(KEYS, VALUES), max_size=2))]
    if draw(st.booleans()):
        pairs = list(draw(st.permutations(pairs)))
    comma, colon = draw(SEPARATORS)
    ascii_only = draw(st.booleans())
    written = [f"{json.dumps(key)}{colon}{json.dumps(value, ensure_ascii=ascii_only)}" for key, value in pairs]
    text = "{" + comma.join(written) + "}"
    change = draw(st.sampled_from(["", "", "", "", "\r", " ", "/", "u", "cut", "q"]))
    if change == "/":
        text = text.replace("/", "\\/")
    elif change == "u":
        text = text.replace("a", "\\u0061")
    elif change == "cut":
        text = text[:-1]
    elif change == "q":
        text = text.replace("a", "\\q")
    else:
        text += change
    return text.encode()


def without_the_straight_way(work: Work) -> Converted:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "straight_for", lambda *_: None)
        return convert.convert(work)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("strip", [False, True])
def test_a_carried_row_is_the_one_that_is_written_anew(name: str, strip: bool) -> None:
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(lines(), min_size=1, max_size=6))
    def check(some: list[bytes]) -> None:
        joined = b"\n".join(some)
        piece = Piece(used=len(joined), line=7, lines=joined, offset=100)
        work = Work(0, "x.jsonl", PLANS[name], borders(0.2, 0.2), piece, strip_reasoning=strip)
        assert convert.convert(work) == without_the_straight_way(work)

    check()


@pytest.mark.parametrize(
    "line",
    [
        '{"question": "What is 2 + 2?", "answer": "It is\\n\\"4\\"."}',
        '{"question":"Größe: “x”?","answer":"C:\\\\y\\tz"}',
        '{"other": "o", "answer": "a", "question": "q", "system": "s"}',
    ],
)
def test_plain_lines_are_carried(line: str) -> None:
    straight = straight_for(PLANS["qa"], line.encode())
    assert straight is not None
    assert straight.row(line.encode(), {}) is not None


def test_lines_of_plain_texts_are_converted_at_once() -> None:
    lines = [json.dumps({"question": f'"{n}"?', "answer": f"{n} is\n\\ \tit", "other": "o"}).encode() for n in range(9)]
    straight = straight_for(PLANS["qa"], b"\n".join(lines))
    assert straight is not None
    dropped: dict[str, int] = {}
    each: dict[str, int] = {}
    assert straight.rows(lines, dropped) == [straight.row(line, each) for line in lines]
    assert dropped == each == {"other": 9}
    for odd in (b'"\x01"', b'"\\q"', b'"\\/"', b'" "', b'"\xc3\xa9"', b'"x\\\\"', b'"a", "question": "b"', b"1"):
        line = b'{"question": "q", "answer": %b, "other": "o"}' % odd
        assert straight.rows([*lines, line], {}) is None, line


def test_a_lost_key_is_never_carried() -> None:
    """The blanks of one separator make up for a key that stands twice, as far as the length goes."""
    first = b'{"question": "a", "answer": "b"}'
    straight = straight_for(PLANS["qa"], first)
    assert straight is not None
    assert straight.row(first, {}) is not None
    for line in (
        b'{"question": "a", "answer": "x","answer":"b"}',
        b'{"question":"a","question": "", "answer": "b"}',
        b'{"question": "a", "question" : "b", "answer": "b"}',
    ):
        assert straight.row(line, {}) is None, line
