"""The settings that were guessed when raw files were read, as YAML to copy into a config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from sftplay.console import count_of
from sftplay.data.conversion.raw_files import SplitPlan
from sftplay.data.conversion.report import ProcessCounts
from sftplay.settings import DataSettings, Settings


def guessed_settings(
    settings: Settings, counts: ProcessCounts, splits: SplitPlan, longest: int
) -> str:
    """Return YAML by which the files are read in the way that was guessed, each guess with its
    reason.

    Args:
        longest: tokens of the longest row looked at; 0: not known.
    """
    lines = ["data:"]
    for key, value, reasons in _data_settings(settings.data, counts, splits):
        lines += [f"  # {reason}" for reason in reasons]
        text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
        lines += [f"  {line}" for line in text.splitlines()]
    if longest:
        limit = settings.model.max_length
        what = "the longest row looked at has" if longest <= limit else "TOO SHORT: a row has"
        lines += ["model:", f"  # {what} {longest:,} tokens", f"  max_length: {limit}"]
    return "\n".join(lines)


def _data_settings(
    data: DataSettings, counts: ProcessCounts, splits: SplitPlan
) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield (key of the data section, value, reasons)."""
    yield ("mix", data.mix, []) if data.mix else ("raw", data.raw, [])
    formats = {file.format for file in counts.files if file.format}
    reasons = [f"{file.file}: {file.evidence or 'no rows'}" for file in counts.files]
    if data.fields:
        yield "fields", data.fields.model_dump(exclude_none=True), reasons
    elif len(formats) == 1:
        yield "format", formats.pop(), reasons
    else:
        yield "format", data.format, ["the files differ", *reasons]
    if splits.kept:
        kept = " and ".join(sorted(splits.kept))
        yield (
            "splits",
            data.splits,
            [f"the files bring {kept} rows of their own; pool: split again"],
        )
    if counts.reasoning:
        reason = f"{count_of(counts.reasoning)} with reasoning; strip: taken out"
        yield "reasoning", data.reasoning, [reason]
    if counts.out_of_order:
        reason = f"{count_of(counts.out_of_order)} with turns out of order; fix: repaired"
        yield "odd_turns", data.odd_turns, [reason]
