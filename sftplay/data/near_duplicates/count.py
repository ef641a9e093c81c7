"""Near duplicates among freshly processed rows: counted, or left out where `data.near_duplicates:
drop` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from sftplay.data.findings import EXAMPLES, Finding, Findings
from sftplay.data.formats.measure import measure
from sftplay.data.near_duplicates.sample import Sample
from sftplay.data.near_duplicates.search import LIKE, NearDuplicate, NearDuplicates, find_near
from sftplay.settings import DataSettings

PRECEDENCE = (
    "test",
    "val",
    "train",
)  # of two alike rows in different splits, the one to train on is the duplicate
_DROP = "leave them out: --set data.near_duplicates=drop"


@dataclass(frozen=True)
class NearDuplicateCount:
    """Near duplicates found in a dataset.

    Attributes:
        across: near duplicates of a row in another split.
        dropped: rows left out, by split; asked, answered: their lengths in characters.
    """

    found: NearDuplicates
    dropped: dict[str, int]
    asked: list[int]
    answered: list[int]

    @property
    def across(self) -> int:
        return sum(pair.file != pair.like_file for pair in self.found.pairs)

    @property
    def is_sample(self) -> bool:
        return self.found.looked_at < self.found.rows

    def to_json(self, setting: str) -> dict[str, Any]:
        """For report.json.

        `share` is that of the rows looked at; a sample finds fewer than all rows would.
        """
        looked_at = self.found.looked_at
        return {
            "setting": setting,
            "similarity": LIKE,
            "looked_at": looked_at,
            "found": len(self.found.pairs),
            "across_splits": self.across,
            "dropped": sum(self.dropped.values()),
            "why": self.why(),
        }

    def why(self) -> str:
        """Describe what was compared."""
        if not self.is_sample:
            return "every row was looked at"
        return (
            f"{self.found.looked_at:,} of {self.found.rows:,} rows were looked at, chosen by their ids, so that counting takes seconds: "
            "among all rows there are more (data.near_duplicates: drop looks at every row)"
        )


def near_duplicates(
    folder: Path,
    rows: int,
    settings: DataSettings,
    findings: Findings,
    advance: Callable[[int], None],
    sample: Sample | None = None,
) -> NearDuplicateCount:
    """Find near duplicates in `folder`'s files of rows, findings them, and take them out where that
    is asked for.
    """
    drop = settings.near_duplicates == "drop"
    files = [folder / f"{split}.jsonl" for split in PRECEDENCE]
    found = find_near(
        files, rows, every_row=drop, workers=settings.workers, advance=advance, sample=sample
    )
    for pair in found.pairs:
        finding = _finding(pair, drop=drop)
        wants_example = len(findings.places.get(finding, ())) < EXAMPLES
        findings.add(finding, _example(files, pair) if wants_example else "")
    alike = NearDuplicateCount(found, {}, [], [])
    for number, pairs in groupby(found.pairs if drop else (), key=lambda pair: pair.file):
        starts = {pair.at for pair in pairs}
        alike.dropped[PRECEDENCE[number]] = len(starts)
        _delete_lines(files[number], starts, alike)
    return alike


def _finding(pair: NearDuplicate, *, drop: bool) -> Finding:
    what = f"like an earlier row (at least {LIKE:.0%} of the wording)"
    if drop:
        return Finding("near_duplicates", "note", f"{what}: left out (data.near_duplicates: drop)")
    if pair.file == pair.like_file:
        return Finding("near_duplicates", "note", what, _DROP)
    return Finding(
        "near_leaks",
        "warning",
        f"like a row of another split (at least {LIKE:.0%} of the wording), so evaluation sees what training saw",
        _DROP,
    )


def _example(files: list[Path], pair: NearDuplicate) -> str:
    return f"{_id(files[pair.file], pair.at)} like {_id(files[pair.like_file], pair.like_at)}"


def _id(path: Path, at: int) -> str:
    with open(path, "rb") as source:
        source.seek(at)
        return str(orjson.loads(source.readline())["id"])


def _delete_lines(path: Path, starts: set[int], alike: NearDuplicateCount) -> None:
    """Write a file again without the lines that begin at `starts`."""
    new, at = path.with_suffix(".new"), 0
    with open(path, "rb") as source, open(new, "wb") as out:
        for line in source:
            if at in starts:
                asked, answered = measure(orjson.loads(line)["messages"])
                alike.asked.append(asked)
                alike.answered.append(answered)
            else:
                out.write(line)
            at += len(line)
    new.replace(path)
