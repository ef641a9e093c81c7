"""Counts of what `tokenize` did: report.json, facts of the stamp, and lines for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.data.findings import Finding, Findings
from sftplay.data.tokenizing.artifact import Writer
from sftplay.data.tokenizing.length_limit import LengthLimit

_UNTRAINED = Finding(
    "no_trained_tokens",
    "warning",
    "rows without a single trained token: they cost time and teach nothing",
    "look at them with inv data.show",
)


def count_lengths(lengths: LengthLimit, findings: Findings) -> None:
    """Add what is to be said about the lengths of rows to the findings."""
    finding = lengths.finding()
    for row_id, length in lengths.examples:
        findings.add(finding, f"{row_id} ({length:,})")
    if lengths.too_long > len(lengths.examples):
        findings.add(finding, count=lengths.too_long - len(lengths.examples))
    if untrained := lengths.untrained():
        findings.add(_UNTRAINED, count=untrained)


def report_of(
    splits: Mapping[str, Writer], findings: Findings, lengths: LengthLimit
) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        **_counts(splits),
        "max_length": {
            "limit": lengths.limit,
            "setting": lengths.policy,
            "too_long": lengths.too_long,
            "dropped": lengths.dropped,
            "truncated": lengths.truncated,
        },
        "lengths": {"row": lengths.quantiles(), "trained": lengths.quantiles(lengths.trained)},
        "length_counts": {
            "row": lengths.bars(lengths.seen),
            "trained": lengths.bars(lengths.trained),
        },
        "findings": findings.to_json(),
    }


def facts_of(
    splits: Mapping[str, Writer],
    findings: Findings,
    lengths: LengthLimit,
) -> Mapping[str, Any]:
    """Collect what training and runs need to know about the rows."""
    return {
        **_counts(splits),
        "values_hash": {split: out.values_hash for split, out in splits.items()},
        "max_tokens": max(out.longest for out in splits.values()),
        "max_id": max(out.largest_id for out in splits.values()),
        "max_length": lengths.limit,
        "lengths": lengths.quantiles(),
        "too_long": lengths.too_long,
        "dropped": lengths.dropped,
        "truncated": lengths.truncated,
        "notes": {finding.kind: findings.count(finding.kind) for finding in findings.of("note")},
    }


def _counts(splits: Mapping[str, Writer]) -> dict[str, dict[str, int]]:
    return {
        name: {split: getattr(out, name) for split, out in splits.items()}
        for name in ("rows", "tokens", "trained_tokens")
    }


def say(
    splits: Mapping[str, Writer], findings: Findings, lengths: LengthLimit, folder: Path
) -> None:
    """Print the summary."""
    findings.say(but="too_long")
    if lengths.too_long:
        console.warning(
            f"{lengths.line()}\n  {lengths.dropped:,} dropped, {lengths.truncated:,} cut "
            f"(data.on_too_long: {lengths.policy})"
        )
    counts = _counts(splits)
    rows = ", ".join(f"{split} {count:,}" for split, count in counts["rows"].items())
    tokens, trained = (sum(counts[name].values()) for name in ("tokens", "trained_tokens"))
    console.success(
        f"tokenized → {folder}: {rows} rows, {tokens:,} tokens, {trained:,} of them trained"
    )
