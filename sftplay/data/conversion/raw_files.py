"""Raw files, one after the other, cut into work: each is opened, its first rows decide its format,
its pieces follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from sftplay import console
from sftplay.data.conversion.convert import ConversionTask
from sftplay.data.conversion.report import FileReport
from sftplay.data.formats.detect import LOOKED_AT, decide
from sftplay.data.readers.piece import Piece
from sftplay.data.readers.pieces import read_pieces
from sftplay.data.readers.sources import RawFile
from sftplay.data.rejects import Reject
from sftplay.data.split import borders
from sftplay.errors import DataError
from sftplay.settings import DataSettings

_PEEKED = 4  # pieces without a readable row, then the file is given up


def work(
    files: tuple[RawFile, ...], settings: DataSettings, reports: list[FileReport]
) -> Iterator[ConversionTask]:
    """Yield pieces of all files with how to read them. Each file's report is added to `reports`
    when it is opened.

    Raises:
        DataError: a file that can't be read, or is in no known format (65).
    """
    edges = borders(settings.val_share, settings.test_share)
    for number, file in enumerate(files):
        facts: dict[str, str] = {}
        entry = FileReport(file.name, file.path.stat().st_size)
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
                edges,
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
