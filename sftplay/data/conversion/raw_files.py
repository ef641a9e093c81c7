"""Raw files, one after the other, cut into work: each is opened, its first rows decide its format,
its pieces follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sftplay import console
from sftplay.console import count_of
from sftplay.data.conversion.convert import ConversionTask
from sftplay.data.conversion.report import FileReport
from sftplay.data.formats.detect import LOOKED_AT, decide
from sftplay.data.readers.piece import Piece
from sftplay.data.readers.pieces import read_pieces, splits_inside
from sftplay.data.readers.sources import RawFile, RawFiles
from sftplay.data.rejects import Reject
from sftplay.data.split import Borders, borders, fixed_borders
from sftplay.errors import DataError
from sftplay.settings import DataSettings

_PEEKED = 4  # pieces without a readable row, then the file is given up


@dataclass(frozen=True)
class SplitPlan:
    """Assignment of rows to splits.

    Attributes:
        kept: the splits to evaluate on that the raw data brings along; empty where all rows are
            split by their content.
    """

    settings: DataSettings
    kept: frozenset[str] = frozenset()

    def borders(self, split: str) -> Borders:
        """Return the borders for rows of a split of the raw data."""
        if self.kept and split in ("val", "test"):
            return fixed_borders(split)
        shares = {"val": self.settings.val_share, "test": self.settings.test_share}
        return borders(*(0.0 if name in self.kept else share for name, share in shares.items()))


def plan_splits(found: RawFiles, settings: DataSettings) -> SplitPlan:
    """Decide whether the splits of the raw data are kept: where it has rows to train on, and others
    to evaluate on. The decision is printed.

    Raises:
        DataError: a JSON document that can't be read (65).
    """
    if found.configs:
        console.warning(
            f"the dataset card lists {count_of(len(found.configs), 'configuration')} "
            f"({', '.join(found.configs[:8])}), and their files are read together: "
            "name the files of one by data.raw if they hold the same rows"
        )
    named = {split for file in found.files for split in splits_inside(file) or {file.split}}
    held_out = named & {"val", "test"}
    if not held_out or not named - held_out:
        return SplitPlan(settings)
    rows = f"the raw data has {' and '.join(sorted(held_out))} rows of its own"
    if settings.splits == "pool":
        console.info(f"{rows}: put together with the others and split again (data.splits: pool)")
        return SplitPlan(settings)
    console.info(f"{rows}: kept apart (data.splits: keep; `pool` splits all rows again)")
    return SplitPlan(settings, frozenset(held_out))


def in_order(files: tuple[RawFile, ...], plan: SplitPlan) -> tuple[RawFile, ...]:
    """Return files in the order in which they are read: of two equal rows in different splits, the
    one to evaluate on stays.
    """
    order = {"test": 0, "val": 1}
    return tuple(sorted(files, key=lambda file: order.get(file.split, 2))) if plan.kept else files


def work(
    files: tuple[RawFile, ...],
    settings: DataSettings,
    splits: SplitPlan,
    reports: list[FileReport],
) -> Iterator[ConversionTask]:
    """Yield pieces of all files with how to read them. Each file's report is added to `reports`
    when it is opened.

    Raises:
        DataError: a file that can't be read, or is in no known format (65).
    """
    for number, file in enumerate(files):
        facts: dict[str, str] = {}
        entry = FileReport(file.name, file.path.stat().st_size)
        entry.split = file.split if splits.kept else ""
        reports.append(entry)
        pieces = read_pieces(file, facts)
        first, rows = _peek(pieces, file.name)
        entry.kind, entry.compression, entry.encoding = (
            facts["kind"],
            facts["compression"],
            facts["encoding"],
        )
        if not rows:
            entry.notes.append("no rows")
            console.warning(f"{file.name}: no rows in it")
            continue
        plan = decide(rows, settings, file.name)
        entry.format, entry.evidence = plan.format, plan.evidence
        for piece in chain(first, pieces):
            yield ConversionTask(
                number,
                file.name,
                plan,
                splits.borders(piece.split or file.split),
                piece,
                settings.reasoning == "strip",
                settings.odd_turns == "fix",
            )


def _peek(pieces: Iterator[Piece], name: str) -> tuple[list[Piece], list[Any]]:
    """Return the first pieces, up to one with a readable row, and the first readable rows."""
    first: list[Piece] = []
    rejects: list[Reject] = []
    for piece in pieces:
        first.append(piece)
        rows = [
            row
            for (_, _, row), _ in zip(piece.parsed(rejects, name), range(LOOKED_AT), strict=False)
        ]
        if rows:
            return first, rows
        if len(first) == _PEEKED:
            break
    if rejects:
        raise DataError(
            f"no row can be read; the first problem is {rejects[0].describe(name)}",
            where=name,
            todo="is it the kind of file that its name says? one JSON object a line (.jsonl), one array (.json), .csv …",
        )
    return [], []
