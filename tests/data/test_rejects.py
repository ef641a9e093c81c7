"""rejects.jsonl holds each bad row itself, whatever it was."""

import orjson
import pytest

from sftplay.data.rejects import BadRowError, reject


@pytest.mark.parametrize(
    ("raw", "value", "row"),
    [
        (b'{"a": 12345678901234567890123}', {"a": 1.2e22}, {"a": 1.2345678901234568e22}),
        (b"nonsense", None, "nonsense"),
        (b'{"a": 1,\n "b": 2}', {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (None, {"a": b"\x00"}, {"a": "b'\\x00'"}),
    ],
)
def test_the_row_is_kept(raw: bytes | None, value: object, row: object) -> None:
    line = reject(3, BadRowError("why", "more", 7), raw, value).to_json("x.jsonl")
    assert line.count(b"\n") == 1
    entry = orjson.loads(line)
    assert entry == {
        "file": "x.jsonl",
        "line": 3,
        "reason": "why",
        "column": 7,
        "detail": "more",
        "row": row,
    }


def test_text_as_it_stood_in_the_file() -> None:
    raw = b'{"id": 12345678901234567890123, "q": 1}'
    assert raw in reject(1, BadRowError("why"), raw, orjson.loads(raw)).to_json("x")


def test_the_place_for_people() -> None:
    assert (
        reject(3, BadRowError("why", "more", 7), b"x").describe("x.jsonl")
        == "x.jsonl:3:7: why (more)"
    )
    assert reject(3, BadRowError("why"), b"x").describe("x.jsonl") == "x.jsonl:3: why"
