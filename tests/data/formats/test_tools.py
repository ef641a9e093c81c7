"""Tools of a row and calls of them, in every form in which data has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.formats.tools import read_calls, read_tools, texts_in
from sftplay.data.rejects import BadRowError

BARE: dict[str, Any] = {"name": "weather", "arguments": {"city": "Bern"}}
CALL = {"type": "function", "function": BARE}


@pytest.mark.parametrize(
    "given",
    [
        BARE,
        [BARE],
        CALL,
        json.dumps(BARE),
        json.dumps([CALL]),
        {**BARE, "arguments": '{"city": "Bern"}'},
    ],
)
def test_every_form_of_a_call(given: Any) -> None:
    assert read_calls(given, RowNotes()) == [CALL]


@pytest.mark.parametrize("arguments", [None, "", {}, "{}"])
def test_a_call_without_arguments(arguments: Any) -> None:
    assert read_calls({"name": "now", "arguments": arguments}, RowNotes())[0]["function"] == {
        "name": "now",
        "arguments": {},
    }


@pytest.mark.parametrize(
    "given", [[], {}, 7, "weather()", [CALL, {"name": ""}], {"name": "a", "arguments": "[1]"}]
)
def test_what_is_no_call(given: Any) -> None:
    with pytest.raises(BadRowError, match="can't be read"):
        read_calls(given, RowNotes())


SCHEMA = {"name": "weather", "description": "now", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": SCHEMA}


@pytest.mark.parametrize("given", [[TOOL], [SCHEMA], json.dumps([SCHEMA]), [{"function": SCHEMA}]])
def test_every_form_of_tools(given: Any) -> None:
    assert read_tools(given) == [TOOL]


@pytest.mark.parametrize("given", [None, "", " ", [], "[]"])
def test_no_tools(given: Any) -> None:
    assert read_tools(given) == []


@pytest.mark.parametrize("given", ["hammer, saw", {"weather": {}}, 7, ["weather"], [{}]])
def test_what_is_no_list_of_tools(given: Any) -> None:
    with pytest.raises(BadRowError, match="can't be read"):
        read_tools(given)


def test_every_text_in_a_value() -> None:
    assert sorted(texts_in([TOOL["function"], 1, None])) == sorted(
        ["name", "weather", "description", "now", "parameters", "type", "object"]
    )
