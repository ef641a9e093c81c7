"""Counts of what `process` did, and report.json.

Rows in = out + rejected + duplicates + near duplicates dropped + left out by the mix, always.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sftplay.data import findings
from sftplay.data.bins import bins_of
from sftplay.data.conversion.convert import ConvertedPiece, SplitRows
from sftplay.data.conversion.mix import LeftOut, Mix
from sftplay.data.findings import Finding
from sftplay.data.formats.conversation import TURNS_OUT_OF_ORDER
from sftplay.data.near_duplicates.count import PRECEDENCE, NearDuplicateCount
from sftplay.places import SPLITS
from sftplay.settings import DataSettings

DUPLICATE = Finding(
    "exact_duplicates",
    "warning",
    "exact duplicates of an earlier row, removed",
    "take them out of the raw files where they are not meant (a row that is to weigh more requires train.epochs)",
)
_MIX_SHARE = {
    split: Finding(
        "mix_share", "warning", f"a source of data.mix misses its share of {split}", todo
    )
    for split, todo in (
        ("train", "each source gets a row at least: change its weight, or leave it out"),
        ("val", "add rows of it, or set a larger data.val_share"),
        ("test", "add rows of it, or set a larger data.test_share"),
    )
}
_MIX_LIMIT = Finding(
    "mix_limit",
    "note",  # it may be what is wanted: --strict goes on
    "one source of data.mix limits all others",
    "lower its weight, or add rows to it; if you want all rows, use data.raw instead of data.mix",
)
MAX_NAMES = 100  # keys that are dropped, by name; some data has a new name in every row


@dataclass
class FileReport:
    """One raw file."""

    file: str
    bytes: int
    kind: str = ""
    compression: str = ""
    encoding: str = ""
    split: str = ""
    format: str = ""
    evidence: str = ""
    rows: int = 0
    rejected: int = 0
    duplicates: int = 0
    reasoning: int = 0
    dropped_keys: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class CharacterCounts:
    """Numbers of characters, kept as a histogram: exact below 4,096, to 1 part in 128 above (memory
    stays bounded).
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, values: array[int]) -> None:
        """Count the values of some rows."""
        self._counts.update(values if not values or max(values) < 4096 else map(_rounded, values))

    def remove(self, values: Iterable[int]) -> None:
        """Take back values that were counted."""
        self._counts.subtract(map(_rounded, values))
        self._counts += Counter()

    def bars(self) -> list[list[int]]:
        """Return [from, to, rows] for a histogram."""
        return bins_of(sorted(self._counts.items()))

    def quantiles(self) -> dict[str, int]:
        """Return min, p50, p90, p99, max; empty where nothing was counted."""
        total = self._counts.total()
        if not total:
            return {}
        values = sorted(self._counts)
        found, seen = {"min": values[0]}, 0
        wanted = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)]
        for value in values:
            seen += self._counts[value]
            while wanted and seen >= wanted[0][1] * total:
                found[wanted.pop(0)[0]] = value
        return {**found, "max": values[-1]}


def _rounded(value: int) -> int:
    step = max(value.bit_length() - 8, 0) if value >= 4096 else 0
    return value >> step << step


class ProcessCounts:
    """Adds up what came of every piece."""

    def __init__(self) -> None:
        self.files: list[FileReport] = []
        self.rows_in = self.duplicates = 0
        self.reasons: Counter[str] = Counter()
        self.splits = dict.fromkeys(SPLITS, 0)
        self.asked, self.answered = CharacterCounts(), CharacterCounts()
        self.first_rejects: list[str] = []
        self.first_place = ""
        self.findings = findings.Findings()
        self.alike: NearDuplicateCount | None = None
        self.mix: Mix | None = None
        self.left_out = 0

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    @property
    def out_of_order(self) -> int:
        """Rejects whose turns could be fixed."""
        return sum(self.reasons[reason] for reason in TURNS_OUT_OF_ORDER)

    @property
    def rows_out(self) -> int:
        return sum(self.splits.values())

    def add(self, done: ConvertedPiece, kept: Iterable[SplitRows]) -> None:
        """Count a piece: what a worker made of it, and its rows without duplicates."""
        file = self.files[done.file]
        out = 0
        for split, rows in zip(SPLITS, kept, strict=True):
            self.splits[split] += len(rows.keys)
            self.asked.add(rows.asked)
            self.answered.add(rows.answered)
            out += len(rows.keys)
        duplicates = done.seen - len(done.rejects) - out
        self.rows_in += done.seen
        self.duplicates += duplicates
        file.rows += done.seen
        file.rejected += len(done.rejects)
        file.duplicates += duplicates
        file.reasoning += done.reasoning
        self.reasons.update(bad.reason for bad in done.rejects)
        for bad in done.rejects:
            self.findings.add(
                Finding("rejected", "reject", f"set aside: {bad.reason}", _advice(bad.reason)),
                bad.place(file.file),
            )
        self.findings.merge(done.findings)
        if done.rejects and not self.first_place:
            self.first_place = done.rejects[0].place(file.file)
        self.first_rejects += [
            bad.describe(file.file) for bad in done.rejects[: 3 - len(self.first_rejects)]
        ]
        add_names(file.dropped_keys, done.dropped)
        if done.note:
            file.notes.append(done.note)

    def add_duplicates(self, ids: Iterable[str]) -> None:
        """Count rows that were there before, by their ids."""
        for row_id in ids:
            self.findings.add(DUPLICATE, row_id)

    def add_alike(self, alike: NearDuplicateCount) -> None:
        """Take near duplicates into account; those that were dropped are no rows any more."""
        self.alike = alike
        for (file, _), target in alike.moved.items():
            self.splits[PRECEDENCE[file]] -= 1
            self.splits[PRECEDENCE[target]] += 1
        for split, count in alike.dropped.items():
            self.splits[split] -= count
        self.asked.remove(alike.asked)
        self.answered.remove(alike.answered)

    def add_left_out(self, left: LeftOut) -> None:
        """Take back rows that the mix has no place for."""
        self.left_out += left.rows
        self.splits[left.split] -= left.rows
        self.asked.remove(left.asked)
        self.answered.remove(left.answered)

    def add_mix(self, mix: Mix) -> None:
        """Take over the shares of the sources, once every row lies where it stays."""
        self.mix = mix
        for split, what in mix.off():
            self.findings.add(_MIX_SHARE[split], what)
        if limit := mix.limit():
            self.findings.add(_MIX_LIMIT, limit)

    @property
    def near_dropped(self) -> int:
        return sum(self.alike.dropped.values()) if self.alike else 0

    @property
    def reasoning(self) -> int:
        """Good rows, duplicates included, that come with reasoning in an answer."""
        return sum(file.reasoning for file in self.files)

    def to_json(self, skipped: Iterable[object], settings: DataSettings) -> dict[str, Any]:
        """Return the report as plain values: the same input gives the same bytes."""
        return {
            "rows": {
                "in": self.rows_in,
                "out": self.rows_out,
                "rejected": self.rejected,
                "duplicates": self.duplicates,
                "near_duplicates": self.near_dropped,
                **({"left_out": self.left_out} if self.mix else {}),
            },
            "splits": self.splits,
            "reasoning": {"rows": self.reasoning, "setting": settings.reasoning},
            "near_duplicates": self.alike.to_json(settings.near_duplicates) if self.alike else None,
            "mix": self.mix.to_json() if self.mix else None,
            "rejected": dict(self.reasons.most_common()),
            "characters": {"input": self.asked.quantiles(), "answer": self.answered.quantiles()},
            "character_counts": {"input": self.asked.bars(), "answer": self.answered.bars()},
            "findings": self.findings.to_json(),
            "files": [asdict(file) for file in self.files],
            "skipped_files": [str(file) for file in skipped],
        }

    def reasons_text(self) -> str:
        """Return `2 no answer, 1 not valid JSON`, most frequent first."""
        shown = [f"{count:,} {reason}" for reason, count in self.reasons.most_common(4)]
        return ", ".join(shown + ["…"] * (len(self.reasons) > 4))


def add_names(total: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts by name, at most MAX_NAMES names; the rest is counted under `…`."""
    for name, count in more.items():
        place = name if name in total or len(total) < MAX_NAMES else "…"
        total[place] = total.get(place, 0) + count


def _advice(reason: str) -> str:
    fix = "fix the turns in the raw rows, or have it done: --set data.odd_turns=fix"
    return (
        fix
        if reason in TURNS_OUT_OF_ORDER
        else "the rows with their reasons are in rejects.jsonl: fix the raw file"
    )
