"""Data stages know when they are stale: a stamp in each output folder, and one pure comparison.

A stamp holds the hash of what the stage read, the config section it used, the overrides and options
that a data command was given (`kept_values` says what becomes of them), and the stage's format
version.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import StorageError
from sftplay.files import hash_json, write_json
from sftplay.places import data_folder
from sftplay.settings import Settings
from sftplay.untrusted import read_json

STAMP = "stamp.json"
_LONGEST = 80  # characters of a value in a line
FORMATS: Mapping[str, int] = {
    "process": 5,
    "style": 1,
    "render": 3,
    "tokenize": 3,
}  # raised by hand when a stage's output changes
_KINDS = {
    "process": "processed",
    "style": "processed_with_style",
    "render": "rendered",
    "tokenize": "tokenized",
}


@dataclass(frozen=True)
class DataStamp:
    """Record of a data stage in its output folder: its inputs and settings.

    Attributes:
        source: hash of everything the stage read.
        section: the settings that shape its output, as plain values.
        overrides: `--set` values that the data command of this stage was given last.
        options: the same of its own options (a style prompt), by key.
        output: hash of what it wrote.
        facts: what later stages want to know (template hash, end-of-turn token, row counts).
    """

    stage: str
    source: str
    section: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    output: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    format: int = 0

    def write(self, folder: Path) -> None:
        """Write the stamp, last of all files: it vouches for the others."""
        value = {
            **self.__dict__,
            "overrides": list(self.overrides),
            "format": FORMATS[self.stage],
            "hash": "",
        }
        write_json(folder / STAMP, {**value, "hash": hash_json(value)})


def read_stamp(folder: Path) -> DataStamp | None:
    """The stamp in `folder`; None where there is none. A damaged one raises StorageError (74)."""
    path = folder / STAMP
    if not os.path.lexists(path):
        return None
    value = read_json(path, stage=str, source=str, section=dict)
    value.pop("hash", None)
    try:
        stamp = DataStamp(**{**value, "overrides": tuple(value.get("overrides", ()))})
    except TypeError as error:
        raise _not_a_stamp(path) from error
    if (
        not all(isinstance(one, str) for one in stamp.overrides)
        or not isinstance(stamp.options, dict)
        or not isinstance(stamp.facts, dict)
        or not isinstance(stamp.output, str)
        or type(stamp.format) is not int
    ):
        raise _not_a_stamp(path)
    return stamp


def _not_a_stamp(path: Path) -> StorageError:
    return StorageError(
        "not the stamp of a data stage",
        where=str(path),
        todo="delete the file: the stage is then run again",
    )


def why_stale(
    stamp: DataStamp | None, stage: str, source: str, section: Mapping[str, Any]
) -> str | None:
    """Return the reason why a stage has to run again; None if its output is current. Pure."""
    if stamp is None:
        return "not made yet"
    if stamp.format != FORMATS[stage]:
        return f"made by an older version (format {stamp.format}, now {FORMATS[stage]})"
    changed = [
        f"{key} {_shown(stamp.section.get(key))} → {_shown(section.get(key))}"
        for key in sorted({*stamp.section, *section})
        if stamp.section.get(key) != section.get(key)
    ]
    if changed:  # first: another data.raw is other input, too
        return f"settings changed: {'; '.join(changed)}"
    return "its input changed" if stamp.source != source else None


def _shown(value: Any) -> str:
    """A value in a line; of a hash, its beginning."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text.startswith("sha256:"):
        return text[:14]
    return repr(value) if isinstance(value, str) and len(text) <= _LONGEST else text[:_LONGEST]


def behind(settings: Settings, *, until: str = "tokenize") -> tuple[str, str] | None:
    """The first data folder that was made before what it is made of changed, by the stamps alone:
    what, and what to do.

    None where all fit, or nothing says so: rows made or edited by hand are for the stages' own
    `freshness`.

    Args:
        until: the last stage to look at.
    """
    folders = {stage: data_folder(kind, settings) for stage, kind in _KINDS.items()}
    stamps = {stage: read_stamp(folder) for stage, folder in folders.items()}
    rendered = stamps["render"]
    styled = rendered is not None and rendered.facts.get("from") == folders["style"].name
    chain = [*(["process", "style"] if styled else ["process"]), "render", "tokenize"]
    for before, stage in pairwise(chain):
        made, source = stamps[stage], stamps[before]
        if (
            made
            and source
            and source.output
            != (made.facts.get("rendered") if stage == "tokenize" else made.source)
        ):
            return f"{folders[stage]} was made before {folders[before]} changed", f"inv {stage}"
        if stage == until:
            break
    return None


def warn_if_behind(settings: Settings, *, until: str = "tokenize") -> bool:
    """Say it where `behind` finds something."""
    found = behind(settings, until=until)
    if found:
        console.warning(f"{found[0]}: {found[1]} (train does it itself)")
    return found is not None


def section_of(settings: Settings, *keys: str) -> dict[str, Any]:
    """The settings that shape a stage's output, by key path (`data.val_share`), as plain JSON
    values.
    """
    values = settings.model_dump(mode="json")
    section = {}
    for key in keys:
        value: Any = values
        for part in key.split("."):
            value = value[part]
        section[key] = value
    return section
