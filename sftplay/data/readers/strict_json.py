"""One JSON row, parsed strictly: what orjson lets pass is refused here, at the price of counting
colons.

orjson refuses NaN, infinities, lone surrogates, control characters, invalid UTF-8 and more than
1,024 levels. It keeps the last of two equal keys without a word. The colons of a text are at least
as many as its keys, and its keys at least as many
as those of the parsed value: where the two outer numbers are equal, no key was lost. Only rows with
more colons (in their
texts) are counted closer, and only what is still unclear then is parsed a second time.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from sftplay.data.formats.json_value import unique_keys
from sftplay.data.rejects import BadRowError

_NOT_JSON = "not valid JSON"
_NAN = re.compile(r"-?(?:NaN|Infinity)\b")


def parse_row(raw: bytes) -> Any:
    """Parse one row.

    Raises:
        BadRowError: not JSON, or not what any two parsers would agree on.
        UnicodeDecodeError: not UTF-8, with the offset in `raw`.
    """
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _explain(raw, error) from None
    if type(row) is list or (type(row) is dict and raw.count(b":") != len(row)):
        _refuse_lost_keys(raw, row)
    return row


def count_keys(value: Any) -> int:
    """Count the keys of all objects in a parsed object or list."""
    keys, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            keys += len(item)
            item = item.values()
        waiting += [inner for inner in item if type(inner) is dict or type(inner) is list]
    return keys


def has_keys_only(raw: bytes, keys: int) -> bool:
    """Tell whether a text certainly has no more keys than these; where a text in it has colons, it
    may not be certain.
    """
    if raw.count(b":") == keys:
        return True
    # a key's colon follows its quote directly, or a blank: every other colon belongs to a text
    blanks = b" :" in raw or b"\t:" in raw or b"\n:" in raw or b"\r:" in raw
    return not blanks and raw.count(b'":') == keys


def _refuse_lost_keys(raw: bytes, row: Any) -> None:
    if has_keys_only(raw, count_keys(row)):
        return
    try:
        json.loads(raw, object_pairs_hook=unique_keys)
    except RecursionError:
        raise BadRowError(_NOT_JSON, "nested too deeply") from None


def _explain(raw: bytes, error: orjson.JSONDecodeError) -> BadRowError:
    text = raw.decode(
        "utf-8"
    )  # not UTF-8 is a fault of the file: UnicodeDecodeError continues to the caller
    message = error.msg.partition(": line ")[0]
    if _NAN.match(text, error.pos):
        message = "NaN and Infinity are not JSON: write null"
    elif "surrogate" in message:
        message = "half of a surrogate pair, which is no character"
    elif "depth" in message:
        message = "nested too deeply"
    if error.lineno > 1:
        return BadRowError(
            _NOT_JSON, f"{message}, in its line {error.lineno}, column {error.colno}"
        )
    return BadRowError(_NOT_JSON, message, error.colno)
