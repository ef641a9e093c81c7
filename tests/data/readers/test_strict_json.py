"""Strict JSON rows: nothing that two parsers could read differently gets through, and valid rows
always do.
"""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.readers.strict_json import parse_row
from sftplay.data.rejects import BadRowError

REFUSED = {
    "duplicate key": (b'{"a": 1, "a": 2}', "a key stands twice"),
    "duplicate key, blank before the colon": (b'{"a" :1,"a":2}', "a key stands twice"),
    "duplicate key with colons in texts": (
        b'{"a": "x: y", "b": "\\": ", "a": ":"}',
        "a key stands twice",
    ),
    "duplicate key inside": (b'{"m": [{"role": "user", "role": "system"}]}', "a key stands twice"),
    "duplicate key in a pair": (b'["q", {"answer": "a", "answer": "b"}]', "a key stands twice"),
    "duplicate by escape": (b'{"a": 1, "\\u0061": 2}', "a key stands twice"),
    "nan": (b'{"a": NaN}', "not valid JSON"),
    "infinity": (b'{"a": -Infinity}', "not valid JSON"),
    "1e999": (b'{"a": 1e999}', "not valid JSON"),
    "5,000 digits": (b'{"a": %b}' % (b"7" * 5000), "not valid JSON"),
    "lone surrogate": (b'{"a": "\\ud800"}', "not valid JSON"),
    "control character": (b'{"a": "\x00"}', "not valid JSON"),
    "nested 100,000 deep": (b"[" * 100_000, "not valid JSON"),
    "nested 1,000 deep": (b'{"a":' + b"[" * 1000 + b'":"' + b"]" * 1000 + b"}", "not valid JSON"),
    "trailing garbage": (b'{"a": 1} x', "not valid JSON"),
    "two values": (b'{"a": 1}{"a": 2}', "not valid JSON"),
    "cut off": (b'{"a": "b', "not valid JSON"),
    "single quotes": (b"{'a': 1}", "not valid JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    raw, reason = REFUSED[case]
    with pytest.raises(BadRowError) as caught:
        parse_row(raw)
    assert caught.value.reason == reason


def test_the_column_and_the_cause_are_named() -> None:
    with pytest.raises(BadRowError) as caught:
        parse_row(b'{"score": NaN}')
    assert caught.value.column == 11
    assert "write null" in caught.value.detail
    with pytest.raises(BadRowError) as caught:
        parse_row(b'{"answer": 1, "answer": 2}')
    assert "`answer`" in caught.value.detail


def test_bytes_that_are_not_utf8_are_a_fault_of_the_file() -> None:
    with pytest.raises(UnicodeDecodeError) as caught:
        parse_row(b'{"a": "caf\xe9"}')
    assert caught.value.start == 10


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(['"', ":", '": ', " :", "a", "b", "\\"]), inner)
    ),
    max_leaves=12,
)
layouts = st.sampled_from(
    [{}, {"indent": 1}, {"separators": (",", ":")}, {"separators": (" ,", " : ")}]
)


@given(values, layouts, st.booleans())
def test_every_valid_row_is_read_as_it_is(
    value: Any, layout: dict[str, Any], ascii_only: bool
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, **layout).encode()
    assert parse_row(raw) == value


@given(st.dictionaries(st.sampled_from("abc"), values, min_size=1, max_size=3), layouts, st.data())
def test_a_key_that_stands_twice_is_always_noticed(
    row: dict[str, Any], layout: dict[str, Any], data: Any
) -> None:
    key = data.draw(st.sampled_from(sorted(row)))
    raw = json.dumps(row, **layout)
    again = json.dumps({key: data.draw(values)}, **layout)
    doubled = f"{raw[:-1].rstrip()},{again[1:]}".encode()
    assert orjson.loads(doubled).keys() == row.keys()  # the parser says nothing
    with pytest.raises(BadRowError, match="a key stands twice"):
        parse_row(doubled)
