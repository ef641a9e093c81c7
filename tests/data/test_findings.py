"""Findings: counted, with the first places, in the order of the rows however they were cut into
blocks.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sftplay.data.findings import EXAMPLES, KINDS, Finding, Findings, todos

BAD = Finding("bad", "fatal", "a bad thing", "do this")
ODD = Finding("odd", "note", "an odd thing", "do this")


@given(st.lists(st.sampled_from([BAD, ODD]), max_size=30), st.integers(0, 30))
def test_blocks_add_up(found: list[Finding], cut: int) -> None:
    whole, parts, later = Findings(), Findings(), Findings()
    for number, finding in enumerate(found):
        whole.add(finding, f"rows:{number}")
        (parts if number < cut else later).add(finding, f"rows:{number}")
    parts.merge(later)
    assert parts == whole
    assert all(len(places) <= EXAMPLES for places in whole.places.values())
    assert whole.count("bad") == found.count(BAD)


def test_lines_and_advice() -> None:
    findings = Findings()
    for number in range(7):
        findings.add(BAD, f"rows:{number}")
    findings.add(ODD, "rows:9", count=3)
    assert findings.line(BAD) == "7 × a bad thing: rows:0, rows:1, rows:2, rows:3, rows:4, …"
    assert findings.line(ODD) == "3 × an odd thing: rows:9, …"
    assert findings.of("fatal") == [BAD]
    assert todos([BAD, ODD]) == "do this"


def test_a_reason_for_every_row_does_not_grow_without_end() -> None:
    findings = Findings()
    for number in range(1000):
        findings.add(Finding("rejected", "reject", f"reason {number}"), f"rows:{number}")
    assert len(findings.counts) == KINDS + 1
    assert findings.count("rejected") == 1000
