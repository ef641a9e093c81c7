"""Words for what pydantic finds wrong in a value, for people who have never heard of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number that is smaller",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}
_SAID = {"extra_forbidden": "unknown key", "missing": "is missing"}
_BOUNDS = {
    "greater_than": ("more than {}", "gt"),
    "greater_than_equal": ("at least {}", "ge"),
    "less_than": ("less than {}", "lt"),
    "less_than_equal": ("at most {}", "le"),
    "too_short": ("at least {} of them", "min_length"),
    "too_long": ("at most {} of them", "max_length"),
    "string_too_short": ("at least {} characters", "min_length"),
    "string_too_long": ("at most {} characters", "max_length"),
}
_REQUIRES = "requires "


def in_words(problem: Mapping[str, Any]) -> str:
    """Return what is wrong with a value.

    Args:
        problem: one of `ValidationError.errors()`.
    """
    kind, context = str(problem["type"]), problem.get("ctx") or {}
    if kind == "value_error":
        return str(context.get("error") or problem["msg"].removeprefix("Value error, "))
    if kind in _SAID:
        return _SAID[kind]
    if kind == "literal_error":
        expected = str(context["expected"])
    elif kind == "list_type":
        expected = f"a list{_as_list(problem.get('input'))}"
    elif kind in _BOUNDS:
        text, key = _BOUNDS[kind]
        expected = text.format(_number(context[key]))
    elif kind in _KINDS:
        expected = _KINDS[kind]
    else:
        return str(problem["msg"]).replace("Input should be ", _REQUIRES)
    return _REQUIRES + expected


def alternatives(said: Iterable[str]) -> str:
    """Return in one sentence what a value may be instead, each alternative once."""
    first, *others = dict.fromkeys(said)
    return ", or ".join([first, *(one.removeprefix(_REQUIRES) for one in others)])


def _as_list(value: Any) -> str:
    """Return the one value in brackets, as the list is probably meant."""
    plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return f": [{value}]" if plain and 0 < len(str(value)) < 60 else ""


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
