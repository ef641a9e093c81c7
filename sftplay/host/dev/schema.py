"""The config's schema for people and for editors, read from the pydantic models so that it can't go
out of date.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.config import apply_override, load_config, validate
from sftplay.files import write_text
from sftplay.places import output_file
from sftplay.settings import Settings


@dataclass(frozen=True)
class ConfigKey:
    """One key of a config: its dotted path, what it takes ("whole number, at least 1"), default and
    help.
    """

    path: str
    takes: str
    default: Any
    help: str
    optional: bool = False  # its section may be absent, and is unless somebody writes it

    @property
    def section(self) -> str:
        """Everything before the last dot; empty at the top level."""
        return self.path.rpartition(".")[0]


def write(output: str | None = None) -> None:
    """The JSON schema (draft 2020-12) of a config file, to stdout or into `output`."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(),
    }
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    if output is None:
        console.result(text, end="")
        return
    write_text(output_file(output), text)
    console.success(f"written: {output}")
    console.info(
        f"VS Code and others read it from a config's first line: # yaml-language-server: $schema={output}"
    )


def show(config: str | None = None, overrides: Sequence[str] = ()) -> None:
    """Every key with its help and its default (with `config`: its value there), as YAML that can be
    run.

    Raises:
        ConfigError: `config` has problems, all of them listed (78). NotFoundError: no such file
            (66).
    """
    settings = load_config(Path(config), overrides) if config else _defaults(overrides)
    values = settings.model_dump(mode="json") if settings else {}
    console.result(as_yaml(values), end="")


def _defaults(overrides: Sequence[str]) -> Settings | None:
    """Return the defaults with other values of some keys; None where there are none."""
    raw: dict[str, Any] = {}
    for override in overrides:
        apply_override(raw, override)
    return validate(raw, "--set", {}) if raw else None


def as_yaml(values: Mapping[str, Any]) -> str:
    """Every key with its help as a comment; `values` (nested) replace defaults. Sections that are
    off stay comments.
    """
    lines: list[str] = []
    opened: set[str] = set()
    for key in every_key():
        *sections, name = key.path.split(".")
        off = key.optional and not isinstance(_value_at(values, sections, None), Mapping)
        for depth, section in enumerate(sections):
            path = ".".join(sections[: depth + 1])
            if path not in opened:
                opened.add(path)
                lines.append(
                    f"{'  ' * depth}{section}:{' null' if off and path == key.section else ''}"
                )
        indent = "  " * len(sections) + ("# " if off else "")
        comment = f"{'  ' * len(sections)}# "
        lines += textwrap.wrap(
            f"{key.help} ({key.takes})", 100, initial_indent=comment, subsequent_indent=comment
        )
        value = _value_at(values, [*sections, name], key.default)
        lines.append(f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def every_key() -> Iterator[ConfigKey]:
    """Every key of a config in the order of the schema."""
    schema = Settings.model_json_schema()
    yield from _walk(schema, schema.get("$defs", {}), "")


def _walk(
    node: Mapping[str, Any], defs: Mapping[str, Any], prefix: str, optional: bool = False
) -> Iterator[ConfigKey]:
    for name, field in node["properties"].items():
        section = _section(field, defs)
        if section is not None:
            yield from _walk(
                section, defs, f"{prefix}{name}.", optional or field.get("default", 0) is None
            )
        else:
            yield ConfigKey(
                f"{prefix}{name}",
                _takes(field),
                field.get("default"),
                field.get("description", ""),
                optional,
            )


def _section(field: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The part of the schema that a field refers to (`X` or `X | None`), if it is a section."""
    for choice in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        if "$ref" in choice:
            found: Mapping[str, Any] = defs[choice["$ref"].rpartition("/")[2]]
            return found
    return None


def _takes(field: Mapping[str, Any]) -> str:
    """Describe in words what a key accepts."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_takes(choice) for choice in field["anyOf"]))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        items = field.get("items", {})
        return f"a list of {_takes(items)}" if "enum" in items else "a list"
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "null": "null",
        "object": "a mapping",
    }
    limits = [
        f"{word} {field[name]}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("exclusiveMaximum", "below"),
            ("maximum", "at most"),
        )
        if name in field
    ]
    return ", ".join([words.get(str(field.get("type")), "anything"), *limits])


def _value_at(values: Mapping[str, Any], names: Sequence[str], default: Any) -> Any:
    """The value at a path; where a section above it is missing or null, the default."""
    place: Any = values
    for name in names:
        if not isinstance(place, Mapping) or name not in place:
            return default
        place = place[name]
    return place
