"""Nulls by which tables fill up structs: taken out where the tool's schema says so; a null that was
meant stays.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from sftplay.data.formats.padding import without_padding
from sftplay.data.formats.row_notes import RowNotes
from tests.data.project import Project

TEXT, MAY_BE_NULL = {"type": "string"}, {"type": ["string", "null"]}


def tool(name: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": function}],
    }


def left(
    arguments: dict[str, Any], *tools: dict[str, Any], from_arrow: bool
) -> tuple[dict[str, Any], list[str]]:
    notes = RowNotes(from_arrow=from_arrow)
    (message,), _ = without_padding([call("f", arguments)], list(tools), notes)
    found: dict[str, Any] = message["tool_calls"][0]["function"]["arguments"]
    return found, sorted({finding.kind for finding in notes.findings})


@pytest.mark.parametrize("from_arrow", [True, False])
def test_a_key_of_another_tool_is_padding_wherever_the_row_comes_from(from_arrow: bool) -> None:
    tools = [tool("f", a=TEXT), tool("g", x=TEXT)]
    assert left({"a": "1", "x": None}, *tools, from_arrow=from_arrow) == ({"a": "1"}, ["padding"])


@pytest.mark.parametrize(
    ("schema", "required", "in_tables"),
    [(TEXT, (), {}), (MAY_BE_NULL, (), {"a": None}), (TEXT, ("a",), {"a": None}), ({"nullable": True}, (), {"a": None}),
     ({"anyOf": [TEXT, {"type": "null"}]}, (), {"a": None}), ({"enum": ["x", None]}, (), {"a": None})],
)  # fmt: skip
def test_a_null_of_an_argument(
    schema: Any, required: tuple[str, ...], in_tables: dict[str, Any]
) -> None:
    """A table's null is padding only where the schema has none; JSON holds what somebody wrote."""
    described = tool("f", required, a=schema)
    assert left({"a": None}, described, from_arrow=True)[0] == in_tables
    assert left({"a": None}, described, from_arrow=False) == ({"a": None}, [])


def test_nested_arguments() -> None:
    inner = {"type": "object", "properties": {"b": TEXT}}
    described = tool("f", a=inner, many={"type": "array", "items": inner})
    arguments = {"a": {"b": "1", "x": None}, "many": [{"b": None}, {"b": "2", "x": None}]}
    assert left(arguments, described, from_arrow=True)[0] == {
        "a": {"b": "1"},
        "many": [{}, {"b": "2"}],
    }


def test_without_a_description_a_table_is_guessed_at() -> None:
    assert left({"a": "1", "x": None}, from_arrow=True) == ({"a": "1"}, ["guessed_padding"])
    assert left({"a": "1", "x": None}, from_arrow=False) == ({"a": "1", "x": None}, [])


def test_descriptions_are_filled_up_too() -> None:
    padded = tool("f", a={**TEXT, "enum": None, "default": None}, x=None)
    for from_arrow in (True, False):
        _, (bare,) = without_padding([], [padded], RowNotes(from_arrow=from_arrow))
        default = {} if from_arrow else {"default": None}
        assert bare == tool("f", a={**TEXT, **default})


def test_from_a_parquet_file(project: Project) -> None:
    rows = []
    for number in range(4):
        name, arguments = ("speak", {"words": "w"}) if number % 2 else ("move", {"x": number})
        messages = [
            {"role": "user", "content": f"do {name} {number}", "tool_calls": None},
            {**call(name, arguments), "content": None},
            {"role": "tool", "content": "ok", "tool_calls": None},
            {"role": "assistant", "content": f"done {number}", "tool_calls": None},
        ]
        rows.append(
            {
                "messages": messages,
                "tools": [tool("speak", words=TEXT), tool("move", x={"type": "integer"})],
            }
        )
    path = project.put("rows.parquet", b"")
    parquet.write_table(pa.Table.from_pylist(rows), path)
    done = project.run("process", "--set", "data.val_share=0", "--set", "data.test_share=0")
    assert done.code == 0, done.said
    assert "4 × nulls that fill up the structs of a table" in done.said
    written = [
        row["messages"][1]["tool_calls"][0]["function"]["arguments"] for row in project.rows()
    ]
    assert written == [{"x": 0}, {"words": "w"}, {"x": 2}, {"words": "w"}]
    names = [
        list(each["function"]["parameters"]["properties"])
        for row in project.rows()
        for each in row["tools"]
    ]
    assert names == [["words"], ["x"]] * 4
