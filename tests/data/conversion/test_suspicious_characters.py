"""Characters that a person would not have meant are counted with their rows, and stay as they are."""

from __future__ import annotations

import orjson
import pytest

from sftplay.data.conversion.suspicious_characters import (
    count_suspicious_characters,
    may_be_suspicious,
)
from sftplay.data.findings import Findings
from tests.data.project import Project, jsonl, questions

ODD = {
    "lost in an earlier conversion": "caf\ufffd",
    "read in another encoding": "cafÃ©",
    "control characters": "bell \x07",
    "direction of writing": "abc\u202edef",
    "private-use": "\uf8ff",
    "invisible": "zero\u200bwidth",
    "carriage returns": "line\r\nline",
}


@pytest.mark.parametrize(("what", "text"), ODD.items())
def test_each_kind_by_its_name(what: str, text: str) -> None:
    messages = [{"role": "user", "content": "plain"}, {"role": "assistant", "content": text}]
    assert may_be_suspicious(orjson.dumps(messages))
    findings = Findings()
    count_suspicious_characters(messages, "rows:1", findings)
    ((finding, count),) = findings.counts.items()
    assert count == 1
    assert what in finding.what


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "tab\tand\nnewline",
        "naïve café — “quotes”…",
        "日本語",
        "👩‍👩‍👧 family",
        "می‌خواهم",
        "A \\ backslash",
        "Â la",
        "50 Â",
    ],
)
def test_texts_that_are_fine(text: str) -> None:
    findings = Findings()
    count_suspicious_characters([{"role": "user", "content": text}], "rows:1", findings)
    assert not findings.counts


def test_they_stand_in_the_report_with_their_rows_and_stay(project: Project) -> None:
    rows = [*questions(40), {"question": "Where?", "answer": "In a cafÃ©."}]
    project.put("qa.jsonl", jsonl(rows))
    done = project.run("process")
    assert done.code == 0, done.said
    (finding,) = [
        each for each in project.report()["findings"] if each["kind"] == "suspicious_characters"
    ]
    assert (finding["severity"], finding["count"]) == ("warning", 1)
    assert finding["rows"][0].startswith("data/raw/qa.jsonl:41 (")
    assert "In a cafÃ©." in [row["messages"][1]["content"] for row in project.rows()]
    assert project.run("process", "--strict").code == 65
