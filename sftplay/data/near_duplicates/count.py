"""Near duplicates among freshly processed rows: counted, and put into one split or left out, as
`data.near_duplicates` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import orjson

from sftplay.data.findings import EXAMPLES, Finding, Findings
from sftplay.data.formats.measure import measure
from sftplay.data.near_duplicates.groups import Line, move_lines, plan_moves
from sftplay.data.near_duplicates.lines import lines_of
from sftplay.data.near_duplicates.sample import Sample
from sftplay.data.near_duplicates.search import LIKE, NearDuplicate, NearDuplicates, find_near
from sftplay.data.split import Borders
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
        across: near duplicates of a row in another split, where they stay.
        moved: lines that went to another file, by file and place before.
        grouped: ids of rows that are or have near duplicates, and stay; a place in a file would
            be another one once rows before it are gone.
        dropped: rows left out, by split; asked, answered: their lengths in characters.
        examples: ids of the first pairs of each finding.
    """

    found: NearDuplicates
    moved: dict[Line, int]
    grouped: frozenset[str]
    dropped: dict[str, int]
    asked: list[int]
    answered: list[int]
    examples: dict[Finding, list[tuple[str, str]]]

    def name_lines(self, folder: Path, shown: str, findings: Findings) -> None:
        """Name the examples of the findings by file and line, once all rows lie where they stay.

        Args:
            folder: where the rows lie now; shown: where they are going to lie.
        """
        ids = {row_id for pairs in self.examples.values() for pair in pairs for row_id in pair}
        files = {f"{shown}/{split}.jsonl": folder / f"{split}.jsonl" for split in PRECEDENCE}
        places = lines_of(files, ids) if ids else {}

        def named(row_id: str) -> str:
            return f"{places[row_id]} ({row_id})" if row_id in places else row_id

        for finding, pairs in self.examples.items():
            findings.places[finding] = [f"{named(one)} like {named(other)}" for one, other in pairs]

    @property
    def across(self) -> int:
        return sum(_is_across(pair, self.moved) for pair in self.found.pairs)

    def dropped_from(self, split: str) -> frozenset[int]:
        """Return where the lines began that were left out of a split."""
        if not self.dropped:
            return frozenset()
        file = PRECEDENCE.index(split)
        return frozenset(pair.at for pair in self.found.pairs if pair.file == file)

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
            "moved": len(self.moved),
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
    rows: Mapping[str, int],
    settings: DataSettings,
    findings: Findings,
    advance: Callable[[int], None],
    sample: Sample | None = None,
    borders: Borders | None = None,
) -> NearDuplicateCount:
    """Find near duplicates in `folder`'s files of rows, count them, and do with them what the
    settings say.

    Args:
        rows: how many there are, by split.
        borders: those of the splits; None where the splits are those of the raw data.
    """
    drop = settings.near_duplicates == "drop"
    files = [folder / f"{split}.jsonl" for split in PRECEDENCE]
    found = find_near(
        files,
        sum(rows.values()),
        every_row=drop,
        workers=settings.workers,
        advance=advance,
        sample=sample,
    )

    @cache
    def id_of(line: Line) -> str:
        return _id(files[line[0]], line[1])

    moved: dict[Line, int] = {}
    if borders and settings.near_duplicates == "group":
        sizes = [rows[split] for split in PRECEDENCE]
        moved = plan_moves(found.pairs, sizes, borders, id_of)
    lines = chain.from_iterable(_lines(pair) for pair in (() if drop else found.pairs))
    alike = NearDuplicateCount(found, moved, frozenset(map(id_of, lines)), {}, [], [], {})
    for pair in found.pairs:
        finding = _finding(pair, moved, drop=drop)
        findings.add(finding)
        pairs_of = alike.examples.setdefault(finding, [])
        if len(pairs_of) < EXAMPLES:
            one, other = map(id_of, _lines(pair))
            pairs_of.append((one, other))
    move_lines(files, moved)
    for number, pairs in groupby(found.pairs if drop else (), key=lambda pair: pair.file):
        starts = {pair.at for pair in pairs}
        alike.dropped[PRECEDENCE[number]] = len(starts)
        _delete_lines(files[number], starts, alike)
    return alike


def _lines(pair: NearDuplicate) -> tuple[Line, Line]:
    return (pair.file, pair.at), (pair.like_file, pair.like_at)


def _is_across(pair: NearDuplicate, moved: Mapping[Line, int]) -> bool:
    one, other = (moved.get(line, line[0]) for line in _lines(pair))
    return one != other


def _finding(pair: NearDuplicate, moved: Mapping[Line, int], *, drop: bool) -> Finding:
    what = f"like an earlier row (at least {LIKE:.0%} of the wording)"
    if drop:
        return Finding("near_duplicates", "note", f"{what}: left out (data.near_duplicates: drop)")
    if not _is_across(pair, moved):
        return Finding("near_duplicates", "note", what, _DROP)
    return Finding(
        "near_leaks",
        "warning",
        f"like a row of another split (at least {LIKE:.0%} of the wording), so evaluation sees what training saw",
        _DROP,
    )


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
