"""Nulls by which Arrow fills up structs: the arguments of different calls get each other's keys.
They are no part of the data.

A null is padding where the tool's own JSON schema has no such argument. In rows of tables it is one
too where the schema has the argument but allows it no null. A null that the schema allows stays.
"""

from __future__ import annotations

from typing import Any

from sftplay.data.findings import Finding
from sftplay.data.formats.row_format import Message
from sftplay.data.formats.row_notes import RowNotes

_KNOWN = Finding(
    "padding",
    "note",
    "nulls that fill up the structs of a table were taken out of tool calls or lists of tools",
)
_GUESSED = Finding(
    "guessed_padding",
    "warning",
    "nulls were taken out of the arguments of a call whose tool the row does not describe: in a table they are padding as a rule",
    "give each row its tools (data.fields.tools), or write the arguments as JSON text",
)
_MAY_BE_NULL = ("default", "const", "example")  # keys of a JSON schema whose value may be null
Schema = dict[str, Any]


def without_padding(
    messages: list[Message], tools: list[Schema], notes: RowNotes
) -> tuple[list[Message], list[Schema]]:
    """Return messages and tools without padding; what was taken out is noted."""
    bare = [_without_null_keys(tool, notes) for tool in tools]
    schemas = {tool["function"].get("name"): tool["function"].get("parameters") for tool in bare}
    return [
        _bare_message(message, schemas, notes) if "tool_calls" in message else message
        for message in messages
    ], bare


def _bare_message(message: Message, schemas: dict[str, Any], notes: RowNotes) -> Message:
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        schema = schemas.get(function["name"])
        calls.append(
            {
                **call,
                "function": {**function, "arguments": _bare(function["arguments"], schema, notes)},
            }
        )
    return {**message, "tool_calls": calls}


def _bare(value: Any, schema: Any, notes: RowNotes) -> Any:
    """Return arguments, or a part of them, without padding; `schema` is None where nothing
    describes them.
    """
    if type(value) is list:
        items = schema.get("items") if type(schema) is dict else None
        return [_bare(item, items, notes) for item in value]
    if type(value) is not dict:
        return value
    properties = schema.get("properties") if type(schema) is dict else None
    kept = {}
    for key, item in value.items():
        if item is None and _is_padding(key, schema, properties, notes):
            notes.findings.append(_KNOWN if properties is not None else _GUESSED)
        else:
            kept[key] = _bare(item, (properties or {}).get(key), notes)
    return kept


def _is_padding(key: str, schema: Any, properties: Any, notes: RowNotes) -> bool:
    if type(properties) is not dict:
        return notes.from_arrow
    if key not in properties:
        return schema.get("additionalProperties", False) in (False, None) or notes.from_arrow
    required = schema.get("required") or ()
    return notes.from_arrow and key not in required and not _allows_null(properties[key])


def _allows_null(schema: Any) -> bool:
    if type(schema) is not dict:
        return False
    kinds = schema.get("type")
    choices = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
    named = "null" in (kinds if type(kinds) is list else [kinds]) or schema.get("nullable") is True
    return named or None in (schema.get("enum") or ()) or any(map(_allows_null, choices))


def _without_null_keys(value: Any, notes: RowNotes) -> Any:
    if type(value) is list:
        return [_without_null_keys(item, notes) for item in value]
    if type(value) is not dict:
        return value
    kept = {}
    for key, item in value.items():
        stays = key in _MAY_BE_NULL and (not notes.from_arrow or _allows_null(value))
        if item is None and not stays:
            notes.findings.append(_KNOWN)
        else:
            kept[key] = _without_null_keys(item, notes)
    return kept
