"""One piece of raw rows → processed lines, in a worker or in this process: parse, convert, hash, split. Pure."""

from __future__ import annotations

import sys
from array import array
from binascii import hexlify
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import orjson

from sftplay.data.conversion.suspicious_characters import count_suspicious_characters, may_be_suspicious
from sftplay.data.findings import Finding, Findings
from sftplay.data.formats.fields import converter
from sftplay.data.formats.measure import measure
from sftplay.data.formats.reasoning import MARK, has_reasoning, without_reasoning
from sftplay.data.formats.row_format import RowFormat
from sftplay.data.formats.tools import read_tools, texts_in
from sftplay.data.readers.piece import Piece
from sftplay.data.rejects import BadRowError, Reject, reject
from sftplay.data.split import Borders, row_key
from sftplay.places import SPLITS


@dataclass(frozen=True)
class ConversionTask:
    """What a worker gets: a piece of a file and how to read it."""

    file: int
    name: str
    plan: RowFormat
    borders: Borders
    piece: Piece
    strip_reasoning: bool = False
    fix_turns: bool = False


@dataclass(frozen=True)
class SplitRows:
    """Accepted rows of one split, in order: their lines joined, and for each its key, length in bytes, and characters."""

    lines: bytes
    keys: array[int]
    sizes: array[int]
    asked: array[int]  # characters of all turns but the trained answers
    answered: array[int]  # characters of the trained answers

    def without(self, places: list[int]) -> SplitRows:
        """The same rows but those at `places`."""
        if not places:
            return self
        gone, kept, at = set(places), [], 0
        for place, size in enumerate(self.sizes):
            if place not in gone:
                kept.append(self.lines[at : at + size])
            at += size
        columns = (
            array(column.typecode, (value for place, value in enumerate(column) if place not in gone))
            for column in (self.keys, self.sizes, self.asked, self.answered)
        )
        return SplitRows(b"".join(kept), *columns)


@dataclass(frozen=True)
class ConvertedPiece:
    """What came of a piece.

    Attributes:
        seen: its rows, good and bad.
        splits: in the order of places.SPLITS.
        reasoning: good rows, duplicates included, with reasoning in an answer.
    """

    file: int
    used: int
    seen: int
    splits: tuple[SplitRows, ...]
    rejects: tuple[Reject, ...]
    dropped: Mapping[str, int]
    note: str
    reasoning: int = 0
    findings: Findings = field(default_factory=Findings)


def convert(work: ConversionTask) -> ConvertedPiece:
    """Convert the rows of one piece.

    Raises:
        DataError: the file as a whole is bad: not UTF-8 (65).
    """
    made, piece = _Made(work), work.piece
    for line, text, row in piece.parsed(made.rejects, work.name):
        made.convert(line, text, row)
    return made.done()


class _Made:
    """What comes of a piece while its rows are converted."""

    def __init__(self, work: ConversionTask) -> None:
        self._work, self._to_messages = work, converter(work.plan)
        # A row: its messages (and tools) as JSON, characters of the other turns and of the answers.
        self._rows: list[tuple[bytes, int, int]] = []
        self.rejects: list[Reject] = []
        self.dropped: dict[str, int] = {}
        self._reasoning, self._findings = 0, Findings()

    def convert(self, line: int, text: bytes | None, row: Any) -> None:
        """Convert a parsed row, or set it aside."""
        fixed: list[str] | None = [] if self._work.fix_turns else None
        try:
            messages = self._to_messages(row, self.dropped, fixed)
            content = orjson.dumps(messages)
            reasons = MARK in content and has_reasoning(messages)
            if reasons and self._work.strip_reasoning:
                messages = without_reasoning(messages)
                content = orjson.dumps(messages)
            asked, answered = measure(messages)
            tools_key = self._work.plan.tools
            tools = read_tools(row.get(tools_key)) if tools_key and type(row) is dict else []
            if tools:
                asked += measure([{"role": "tools", "content": "".join(texts_in(tools))}])[0]
                content += b',"tools":%b' % orjson.dumps(tools)
        except BadRowError as bad:
            self.rejects.append(reject(line, bad, text, row))
            return
        self._reasoning += reasons
        self._rows.append((content, asked, answered))
        if fixed or may_be_suspicious(content):
            place = f"{self._work.name}:{line} ({row_key(content).hex()})"
            count_suspicious_characters(messages, place, self._findings)
            for what in dict.fromkeys(fixed or ()):
                self._findings.add(Finding("fixed_turns", "note", f"{what} (data.odd_turns: fix)"), place)

    def done(self) -> ConvertedPiece:
        """All of it, the rows put into their splits."""
        self.rejects.sort(key=lambda bad: bad.line)
        file, piece = self._work.file, self._work.piece
        found = tuple(self.rejects), self.dropped, piece.note, self._reasoning, self._findings
        splits = _in_splits(self._rows, self._work.borders)
        return ConvertedPiece(file, piece.used, len(self._rows) + len(self.rejects), splits, *found)


def _in_splits(rows: list[tuple[bytes, int, int]], borders: Borders) -> tuple[SplitRows, ...]:
    contents, asked, answered = zip(*rows, strict=True) if rows else ((), (), ())
    names = [row_key(content) for content in contents]
    keys = array("Q", b"".join(names))
    if sys.byteorder == "little":  # a key reads from its first byte on
        keys.byteswap()
    lines = [
        b'{"messages":%b,"id":"%b"}\n' % (content, hexlify(name)) for content, name in zip(contents, names, strict=True)
    ]
    places = list(map(borders.split_of, keys))
    splits = []
    for split in range(len(SPLITS)):
        chosen = [place == split for place in places]
        mine = list(compress(lines, chosen))
        counts = (array(kind, compress(of, chosen)) for kind, of in (("Q", keys), ("L", asked), ("L", answered)))
        own_keys, own_asked, own_answered = counts
        splits.append(SplitRows(b"".join(mine), own_keys, array("L", map(len, mine)), own_asked, own_answered))
    return tuple(splits)
