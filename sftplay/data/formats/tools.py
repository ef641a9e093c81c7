"""Tools in conversations: calls of them in answers, and the list of those that a row offers, in the
form that templates expect.

The form is transformers' ("Tool use" in its documentation): a call is `{"type": "function",
"function": {"name", "arguments"}}` with arguments as an object, a tool is `{"type": "function",
"function": {"name", "description", "parameters"}}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sftplay.data import exact_json
from sftplay.data.formats.json_value import json_value, unique_keys
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.rejects import BadRowError

Call = dict[str, Any]
_READ_OF_CALL = {"id", "type", "function", "name", "arguments"}


def read_calls(value: Any, notes: RowNotes) -> list[Call]:
    """Return calls in OpenAI's form, or as a bare `{"name", "arguments"}`, one or a list of them,
    JSON text or parsed.

    Raises:
        BadRowError: not a call of a tool.
    """
    given = _parsed(value, "a tool call")
    calls = given if type(given) is list else [given]
    if not calls:
        raise BadRowError("a tool call that can't be read", "the list is empty")
    return [_read_call(call, notes) for call in calls]


def _read_call(call: Any, notes: RowNotes) -> Call:
    inner = call.get("function") if type(call) is dict else None
    function: Any = inner if type(inner) is dict else call
    name = function.get("name") if type(function) is dict else None
    if type(name) is not str or not name:
        raise BadRowError(
            "a tool call that can't be read", 'required: {"name": …, "arguments": {…}}'
        )
    for key in {*call, *function} - _READ_OF_CALL:
        notes.skip(f"messages[].tool_calls[].{key}", call.get(key, function.get(key)))
    identity = {"id": call["id"]} if type(call.get("id")) is str else {}
    return {
        **identity,
        "type": "function",
        "function": {"name": name, "arguments": _read_arguments(function.get("arguments"), name)},
    }


def _read_arguments(arguments: Any, name: str) -> dict[str, Any]:
    if type(arguments) is str:
        arguments = (
            _parsed(arguments, f"the arguments of {name!r}"[:60]) if arguments.strip() else {}
        )
    arguments = json_value(arguments, f"the arguments of {name!r}"[:60])
    if arguments is None:
        return {}
    if type(arguments) is not dict:
        raise BadRowError(
            "a tool call that can't be read", f"the arguments of {name!r} are no object"[:100]
        )
    return arguments


def read_tools(value: Any) -> list[dict[str, Any]]:
    """Return a row's tools, JSON text or parsed; empty where it has none. A bare function is
    wrapped as OpenAI does it.

    Raises:
        BadRowError: no list of tools.
    """
    if value is None or (type(value) is str and not value.strip()):
        return []
    tools = json_value(_parsed(value, "the tools"), "the tools")
    if type(tools) is not list:
        raise BadRowError("tools that can't be read", "a list of objects is required")
    return [_read_tool(tool) for tool in tools]


def tools_of(row: dict[str, Any], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the tools of a row, which stand under one of some keys.

    Raises:
        BadRowError: no list of tools, or two different ones.
    """
    found = {key: tools for key in keys if (tools := read_tools(row.get(key)))}
    lists = list(found.values())
    if any(tools != lists[0] for tools in lists):
        raise BadRowError("two lists of tools", " and ".join(f"`{key}`" for key in found))
    return lists[0] if lists else []


def _read_tool(tool: Any) -> dict[str, Any]:
    if type(tool) is dict and type(tool.get("function")) is dict:
        return {"type": "function", **tool}
    if type(tool) is dict and type(tool.get("name")) is str:
        return {"type": "function", "function": tool}
    raise BadRowError(
        "tools that can't be read", 'required: {"name": …, "description": …, "parameters": {…}}'
    )


def function_names(entries: list[dict[str, Any]]) -> list[str]:
    """Return the names of called or offered functions, out of calls or tools."""
    return [
        str(entry["function"].get("name", ""))
        for entry in entries
        if type(entry.get("function")) is dict
    ]


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a parsed value, keys included."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is str:
            yield one
        elif type(one) is dict:
            waiting += [*one.values(), *one]
        elif type(one) is list:
            waiting += one


def _parsed(value: Any, what: str) -> Any:
    if type(value) is not str:
        return value
    try:
        return exact_json.loads(value, unique_keys)
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"{what} that can't be read", f"not valid JSON: {error}"[:100]) from None
