"""What was found in rows, gathered while they stream by: counted, with a few examples, and said once at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

EXAMPLES = 5
KINDS = 50  # different findings kept apart; a template may put a row's own text into its refusal
Severity = Literal["fatal", "reject", "note"]


@dataclass(frozen=True)
class Finding:
    """One kind of thing that rows can have.

    Attributes:
        kind: its name in a stamp's facts.
        severity: `fatal` fails the stage, `reject` sets the row aside, `note` leaves it in and says so.
        what: half a sentence for a person.
        todo: what to type or change.
    """

    kind: str
    severity: Severity
    what: str
    todo: str = ""


@dataclass
class Tally:
    """Findings with counts and the first few places (`file:line (id)`), in the order of the rows."""

    counts: dict[Finding, int] = field(default_factory=dict)
    places: dict[Finding, list[str]] = field(default_factory=dict)

    def add(self, finding: Finding, place: str, count: int = 1) -> None:
        """Count a finding at one place."""
        finding = self._kept_apart(finding)
        self.counts[finding] = self.counts.get(finding, 0) + count
        examples = self.places.setdefault(finding, [])
        if len(examples) < EXAMPLES:
            examples.append(place)

    def merge(self, later: Tally) -> None:
        """Add what was found in rows further on."""
        for found, count in later.counts.items():
            finding = self._kept_apart(found)
            self.counts[finding] = self.counts.get(finding, 0) + count
            examples = self.places.setdefault(finding, [])
            examples.extend(later.places[found][: EXAMPLES - len(examples)])

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity, the most frequent first."""
        return sorted((finding for finding in self.counts if finding.severity == severity), key=self._order)

    def count(self, kind: str) -> int:
        """How often a kind was found, over all its findings."""
        return sum(count for finding, count in self.counts.items() if finding.kind == kind)

    def line(self, finding: Finding) -> str:
        """One finding for the screen: how many, what, where."""
        count, places = self.counts[finding], self.places[finding]
        more = ", …" if count > len(places) else ""
        return f"{count:,} × {finding.what}: {', '.join(places)}{more}"

    def _kept_apart(self, finding: Finding) -> Finding:
        if finding in self.counts or len(self.counts) < KINDS:
            return finding
        return replace(finding, what="something else")

    def _order(self, finding: Finding) -> tuple[int, str]:
        return -self.counts[finding], finding.what


def todos(findings: Iterable[Finding]) -> str:
    """What to do about several findings, each piece of advice once, one a line."""
    return "\n".join(dict.fromkeys(finding.todo for finding in findings if finding.todo))
