"""Files and lines that process records are where a plain reader finds the row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re

import pytest

from tests.data.project import Project, jsonl

_MARK = re.compile(rb"mark(\d{4})")


def _rows(first: int) -> list[dict[str, str]]:
    """Rows with a number each: some bad, some remarkable, some over several lines, some alike."""
    rows = []
    for n in range(first, first + 60):
        words = " ".join(f"w{n - n % 10 // 8}x{place:02}" for place in range(30))
        answer = "  " if n % 10 == 3 else "a\u200bb" if n % 10 == 5 else f"a{n}"
        more = "\nmore\nlines" if n % 10 == 7 else ""
        rows.append({"question": f"mark{n:04} {words}{more}", "answer": answer})
    return rows


def _table(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    table = csv.DictWriter(out, ["question", "answer"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue().encode()


def _indented(rows: list[dict[str, str]]) -> bytes:
    """An array whose rows begin where their question stands."""
    return json.dumps(rows, indent=1, ensure_ascii=False).replace('{\n  "q', '{ "q').encode()


FILES = {
    "a.jsonl": jsonl,
    "b.csv": _table,
    "c.json": _indented,
    "d.jsonl.gz": jsonl,
    "e.csv.gz": _table,
}


@pytest.mark.parametrize("how", ["group", "drop"])
def test_recorded_places(project: Project, how: str) -> None:
    lines: dict[tuple[str, int], int] = {}  # (file, line) → the row's number
    for file, (name, written) in enumerate(FILES.items()):
        content = written(_rows(100 * file))
        project.put(name, gzip.compress(content) if name.endswith(".gz") else content)
        for number, line in enumerate(content.split(b"\n"), 1):
            lines |= {(f"data/raw/{name}", number): int(mark) for mark in _MARK.findall(line)}
    sets = ("data.max_reject_share=0.5", "data.val_share=0.02", f"data.near_duplicates={how}")
    done = project.run("process", *(word for one in sets for word in ("--set", one)))
    assert done.code == 0 and "raised to 20" in done.said, done.said
    rejected = project.rejects()
    assert {lines[bad["file"], bad["line"]] for bad in rejected} == {
        int(bad["row"]["question"][4:8]) for bad in rejected
    }
    assert len(rejected) == 6 * len(FILES)
    for split in ("train", "val", "test"):
        for number, row in enumerate(project.rows_of(split), 1):
            mark = int(row["messages"][0]["content"][4:8])
            lines[row["id"], 0] = lines[f"data/processed/{split}.jsonl", number] = mark
    seen = set()
    for finding in project.report()["findings"]:
        for place in finding["rows"]:
            for path, number, row_id in re.findall(r"(\S+):(\d+) \((\w{16})\)", place):
                assert lines[path, int(number)] == lines[row_id, 0], place
                seen.add(finding["kind"])
    assert seen == {"suspicious_characters", "near_duplicates"} | ({"near_leaks"} & seen)
