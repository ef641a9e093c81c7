"""A few answers of an evaluation side by side: the model before and after training."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from sftplay.config import load_config
from sftplay.errors import NotFoundError, SftplayError
from sftplay.host.ui.harmless_console import HarmlessConsole
from sftplay.places import data_folder
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.untrusted import parse_json, read_lines

SHOWN = 3
LONGEST = 400  # characters of an answer


@dataclass(frozen=True)
class SampleAnswers:
    """One prompt with the answer of the base, of the tuned model, and the one in the data."""

    prompt: str
    base: str
    tuned: str
    reference: str


def read(run: Run, settings: Settings, split: str = "val") -> list[SampleAnswers]:
    """The samples that `eval` wrote. Prompts are the user's words where data/processed has them,
    else as the model reads them.

    Raises:
        NotFoundError: not evaluated yet (66).
    """
    path = run.eval(split) / "samples.jsonl"
    if not path.is_file():
        raise NotFoundError("no evaluation yet", where=str(path), todo=f"inv eval --run {run.name}")
    rows = list(_rows(path))[:SHOWN]
    asked = _questions(
        data_folder("processed", settings) / f"{split}.jsonl", {row["id"] for row in rows}
    )
    return [
        SampleAnswers(
            row.get("question") or asked.get(row["id"], row["prompt"]),
            row["base"],
            row["tuned"],
            row["reference"],
        )
        for row in rows
    ]


def user_words(run: Run, split: str, ids: set[str]) -> dict[str, str]:
    """Row id → the user's last words, as far as today's data/processed still has these rows; {}
    where the config is gone.
    """
    try:
        settings = load_config(run.config)
        return _questions(data_folder("processed", settings) / f"{split}.jsonl", ids)
    except (SftplayError, OSError, ValueError, KeyError, StopIteration):
        return {}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in read_lines(path):
        with contextlib.suppress(ValueError):  # a torn line
            value = parse_json(line)
            if isinstance(value, dict):
                yield value


def _questions(path: Path, ids: set[str]) -> dict[str, str]:
    """Row id → the user's last words, for these rows."""
    found: dict[str, str] = {}
    for row in _rows(path) if path.is_file() else ():
        if row["id"] in ids:
            found[row["id"]] = next(
                m["content"] for m in reversed(row["messages"]) if m["role"] == "user"
            )
            if len(found) == len(ids):
                break
    return found


def show(run: Run, settings: Settings) -> None:
    """Print the first few on stdout, coloured where that is a terminal and NO_COLOR is not set."""
    out = HarmlessConsole(highlight=False, soft_wrap=True)
    for sample in read(run, settings):
        out.print()
        for label, text, style in (
            ("prompt", sample.prompt, "bold"),
            ("before", sample.base, "yellow"),
            ("after", sample.tuned, "green"),
            ("wanted", sample.reference, "dim"),
        ):
            out.print(Text(block(label, text, out.width), style=style))
    out.print()


def block(label: str, text: str, width: int) -> str:
    """`text` under a label of eight columns, each of its lines wrapped to `width`."""
    cut = text if len(text) <= LONGEST else text[:LONGEST] + " …"
    lines = [
        wrapped
        for line in cut.strip().splitlines()
        for wrapped in textwrap.wrap(line, max(width - 9, 20)) or [""]
    ]
    first, *rest = lines or [""]
    return "\n".join([f"{label:8} {first}", *(" " * 9 + line for line in rest)])
