"""JSON whose numbers stay as they were written."""

from __future__ import annotations

import json
import pickle

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftplay.data import exact_json
from sftplay.data.exact_json import ExactNumber

NUMBERS = (
    "0",
    "-0",
    "1",
    "10.50",
    "1e3",
    "1E+2",
    "12345678901234567890123450",
    "0.1",
    "-0.0",
    "1e-07",
    "2.5",
    "1E300",
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=5)
    | st.sampled_from(NUMBERS).map(lambda text: ("number", text)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def written(value: object) -> str:
    """JSON text, with numbers as they are given."""
    if isinstance(value, tuple):
        return str(value[1])
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(
                f"{json.dumps(key, ensure_ascii=False)}:{written(item)}"
                for key, item in value.items()
            )
            + "}"
        )
    return json.dumps(value, ensure_ascii=False)


@given(VALUES)
def test_what_was_read_is_written_again(value: object) -> None:
    text = written(value)
    assert orjson.loads(exact_json.dumps(exact_json.loads(text))) == orjson.loads(text)
    assert (
        exact_json.pretty(exact_json.loads(text), separators=(",", ":"), ensure_ascii=False) == text
    )


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_in_every_form_of_printing(text: str) -> None:
    number = exact_json.loads(text)
    assert (
        str(number),
        f"{number}",
        exact_json.dumps(number).decode(),
        exact_json.pretty(number),
    ) == (text,) * 4
    assert number == float(text)
    assert str(pickle.loads(pickle.dumps(number))) == text
    assert (
        exact_json.may_have_special_numbers(b'{"a": %b}' % text.encode())
        or orjson.dumps(number).decode() == text
    )


def test_a_text_that_looks_like_a_mark_stays_a_text() -> None:
    value = {"a": ExactNumber("1.50"), "b": "number:0", "c": "number::0"}
    assert exact_json.pretty(value) == '{"a": 1.50, "b": "number:0", "c": "number::0"}'


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a": -Infinity}', "{", "[1,]", "1E400", "1" * 400]
)
def test_what_is_not_json(text: str) -> None:
    with pytest.raises(ValueError):
        exact_json.loads(text)
