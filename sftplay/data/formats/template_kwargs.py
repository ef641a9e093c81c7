"""A row's own arguments for the chat template (`chat_template_kwargs`, TRL): `{"enable_thinking":
false}`.
"""

from __future__ import annotations

from typing import Any

from sftplay.data import exact_json
from sftplay.data.findings import Finding
from sftplay.data.formats.json_value import json_value, unique_keys
from sftplay.data.formats.row_format import TEMPLATE_KWARGS
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.rejects import BadRowError

# What the rendering itself says to a template.
RESERVED = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "strftime_now", "raise_exception"}
)
_OWN = Finding(
    "template_kwargs",
    "warning",
    f"rows bring arguments for the chat template (`{TEMPLATE_KWARGS}`): they are rendered with them, while chat and infer render without",
    "take the key out of the raw rows where the model is to be asked without them",
)


def template_kwargs(row: dict[str, Any], notes: RowNotes) -> dict[str, Any]:
    """Return the arguments of a row; empty where it has none.

    Raises:
        BadRowError: no object, or it names what the rendering itself says to the template.
    """
    given = row.get(TEMPLATE_KWARGS)
    if given is None or given == "":
        return {}
    try:
        value = exact_json.loads(given, unique_keys) if type(given) is str else given
    except (ValueError, RecursionError) as error:
        raise BadRowError(
            f"{TEMPLATE_KWARGS} that can't be read", f"not valid JSON: {error}"[:100]
        ) from None
    value = json_value(value, TEMPLATE_KWARGS)
    if type(value) is not dict:
        raise BadRowError(f"{TEMPLATE_KWARGS} that can't be read", "an object is required")
    if taken := RESERVED & value.keys():
        raise BadRowError(
            f"{TEMPLATE_KWARGS} that can't be read", f"`{min(taken)}` is not a row's to set"
        )
    arguments = {
        key: item for key, item in value.items() if not (item is None and notes.from_arrow)
    }
    if arguments:
        notes.findings.append(_OWN)
    return arguments
