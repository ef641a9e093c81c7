"""Lists of messages in other forms: JSON text in a column, or a struct of lists (`Sequence` of
Hugging Face's datasets).
"""

from __future__ import annotations

import re
from typing import Any

from sftplay.data import exact_json
from sftplay.data.formats.json_value import unique_keys
from sftplay.data.rejects import BadRowError

_BEGINS_AS_MESSAGES = re.compile(r"\s*\[\s*\{\s*[\"'](?:role|from|content|value)[\"']\s*:")


def form_of(value: Any) -> str:
    """Return `list`, or in which other form a value is a list of messages: `JSON text`, `a struct
    of lists`; empty where it is none.
    """
    if type(value) is list:
        return "list"
    if type(value) is str:
        return "JSON text" if _BEGINS_AS_MESSAGES.match(value) else ""
    return "a struct of lists" if _is_struct_of_lists(value) else ""


def as_messages(value: Any) -> Any:
    """Return a list of messages as a list; any other value as it is.

    Raises:
        BadRowError: JSON text that is broken.
    """
    form = form_of(value)
    if form == "JSON text":
        try:
            return exact_json.loads(value, unique_keys)
        except (ValueError, RecursionError) as error:
            python = re.match(r"\s*\[\s*\{\s*'", value)
            how = "Python's quotes: write the column by json.dumps" if python else str(error)
            raise BadRowError("messages as text that is not JSON", how[:100]) from None
    if form == "a struct of lists":
        return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    return value


def _is_struct_of_lists(value: Any) -> bool:
    if type(value) is not dict or not {"role", "from"} & value.keys():
        return False
    lists = list(value.values())
    return all(type(each) is list and len(each) == len(lists[0]) for each in lists)
