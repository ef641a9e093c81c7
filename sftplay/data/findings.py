"""Findings in rows, gathered while they stream by: counted, with a few examples, and reported once
at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sftplay import console
from sftplay.errors import DataError

EXAMPLES = 5
KINDS = 50  # different findings kept apart; a template may put a row's own text into its refusal
Severity = Literal["fatal", "reject", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("fatal", "reject", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One kind of thing that rows can have.

    Attributes:
        kind: its name in reports and in a stamp's facts.
        severity: `fatal` fails the stage, `reject` sets the row aside; `warning` and `note` leave
            it in and say so, the
            first as something to look at (`--strict` fails on it and on rejects), the second as
            something to know.
        what: half a sentence for a person.
        todo: what to type or change.
    """

    kind: str
    severity: Severity
    what: str
    todo: str = ""


@dataclass
class Findings:
    """Findings with counts and the first few places (`file:line (id)`), in the order of the rows."""

    counts: dict[Finding, int] = field(default_factory=dict)
    places: dict[Finding, list[str]] = field(default_factory=dict)

    def add(self, finding: Finding, place: str = "", count: int = 1) -> None:
        """Count a finding at one place; without a place it is one of all rows."""
        finding = self._kept_apart(finding)
        self.counts[finding] = self.counts.get(finding, 0) + count
        examples = self.places.setdefault(finding, [])
        if place and len(examples) < EXAMPLES:
            examples.append(place)

    def add_places(self, finding: Finding, places: list[str], count: int) -> None:
        """Count a finding that often, of which the first few places are known."""
        self.merge(Findings({finding: count}, {finding: places}))

    def merge(self, later: Findings) -> None:
        """Add what was found in rows further on."""
        for found, count in later.counts.items():
            finding = self._kept_apart(found)
            self.counts[finding] = self.counts.get(finding, 0) + count
            examples = self.places.setdefault(finding, [])
            examples.extend(later.places[found][: EXAMPLES - len(examples)])

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity, the most frequent first."""
        return sorted(
            (finding for finding in self.counts if finding.severity == severity), key=self._order
        )

    def count(self, kind: str) -> int:
        """Count how often a kind was found, over all its findings."""
        return sum(count for finding, count in self.counts.items() if finding.kind == kind)

    def line(self, finding: Finding) -> str:
        """Return one finding for the screen: how many, what, where."""
        count, places = self.counts[finding], self.places[finding]
        more = ", …" if count > len(places) else ""
        times = f"{count:,} × " if count else ""  # something that is no row's
        return f"{times}{finding.what}" + (f": {', '.join(places)}{more}" if places else "")

    def to_json(self) -> list[dict[str, Any]]:
        """Return every finding for a report, the gravest first."""
        return [
            {
                "kind": finding.kind,
                "severity": severity,
                "count": self.counts[finding],
                "what": finding.what,
                "rows": self.places[finding],
                "todo": finding.todo,
            }
            for severity in SEVERITIES
            for finding in self.of(severity)
        ]

    def say(self, but: str = "") -> None:
        """Print warnings and notes with what to do; `but`: a kind that is printed elsewhere."""
        for finding in (*self.of("warning"), *self.of("note")):
            if finding.kind != but:
                self.say_one(finding)

    def say_one(self, finding: Finding) -> None:
        """Print a warning or a note with what to do."""
        tell = console.warning if finding.severity == "warning" else console.info
        tell(self.line(finding) + (f"; {finding.todo}" if finding.todo else ""))

    def refuse_warnings(self) -> None:
        """Apply `--strict`: raise DataError (65) where there is a warning, or a row was set aside."""
        found = [*self.of("reject"), *self.of("warning")]
        if found:
            listing = "\n".join(f"  {self.line(finding)}" for finding in found)
            todo = "\n".join(filter(None, (todos(found), "or leave --strict out")))
            raise DataError(
                f"--strict: there are warnings, and nothing was replaced\n{listing}", todo=todo
            )

    def _kept_apart(self, finding: Finding) -> Finding:
        if finding in self.counts or len(self.counts) < KINDS:
            return finding
        return replace(finding, what="something else")

    def _order(self, finding: Finding) -> tuple[int, str]:
        return -self.counts[finding], finding.what


def todos(findings: Iterable[Finding]) -> str:
    """Join the advice of several findings, each once, one a line."""
    return "\n".join(dict.fromkeys(finding.todo for finding in findings if finding.todo))
