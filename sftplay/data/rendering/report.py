"""Counts of what `render` did: for report.json, and for the stamp that later stages and runs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sftplay.data.findings import Findings
from sftplay.data.rendering.additions import ADDED
from sftplay.data.rendering.block import RenderedBlock
from sftplay.data.rendering.probe import TemplateTraits
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.tokenizing.tokenizer import TokenizerFacts

ADDED_TEXTS = ("default_system", "preamble", "answer_prefix")


@dataclass
class Counts:
    """Counts over all rows, by split where that matters."""

    rows: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    read: int = 0
    rejected: int = 0
    set_aside: int = 0
    without_system: int = 0
    leaked: int = 0
    findings: Findings = field(default_factory=Findings)

    def add(self, split: str, done: RenderedBlock, leaked: int) -> None:
        """Add a block of a split, of which so many rows were left out."""
        self.rows[split] = self.rows.get(split, 0) + done.rows - leaked
        self.leaked += leaked
        self.turns[split] = self.turns.get(split, 0) + done.turns
        self.read += done.read
        self.rejected += done.rejected
        self.set_aside += done.set_aside
        self.without_system += done.without_system
        self.findings.merge(done.findings)


def facts_of(
    template: ChatTemplate,
    traits: TemplateTraits,
    tokenizer: TokenizerFacts,
    counts: Counts,
    style: dict[str, str] | None,
) -> Mapping[str, Any]:
    """Return what later stages and runs want to know."""
    adds = {key: text for key in ADDED_TEXTS if (text := getattr(traits, key))}
    return {
        "template_hash": template.hash,
        "tokenizer_hash": tokenizer.hash,
        "eot": traits.eot.value,
        "eot_id": traits.eot_id,
        "eot_reason": traits.eot.reason,
        **({"date": template.date} if template.date else {}),
        **({"style": style} if style else {}),
        "template_adds": adds,
        "system_supported": traits.system_supported,
        "rows": counts.rows,
        "turns": counts.turns,
        "rejected": counts.rejected,
        "rows_without_system": counts.without_system,
        "leaked": counts.leaked,
        "notes": {
            finding.kind: counts.findings.count(finding.kind)
            for severity in ("warning", "note")
            for finding in counts.findings.of(severity)
            if finding.kind != ADDED
        },
    }


def report_of(counts: Counts) -> dict[str, Any]:
    """Return the content of report.json."""
    return {
        "rows": {
            "in": counts.read,
            "out": sum(counts.rows.values()),
            "rejected": counts.rejected,
            "set_aside": counts.set_aside,
            "leaked": counts.leaked,
        },
        "splits": counts.rows,
        "trained_turns": sum(counts.turns.values()),
        "findings": counts.findings.to_json(),
    }
