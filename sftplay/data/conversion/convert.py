"""One piece of raw rows → processed lines, in a worker or in this process: parse, convert, hash,
split. Pure.
"""

from __future__ import annotations

import sys
from array import array
from binascii import hexlify
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, NamedTuple

from sftplay.data import exact_json
from sftplay.data.conversion.suspicious_characters import (
    count_suspicious_characters,
    may_be_suspicious,
)
from sftplay.data.findings import EXAMPLES, Finding, Findings
from sftplay.data.formats.fields import converter
from sftplay.data.formats.measure import measure
from sftplay.data.formats.padding import without_padding
from sftplay.data.formats.reasoning import has_reasoning, may_have_reasoning, without_reasoning
from sftplay.data.formats.row_format import TEMPLATE_KWARGS, Message, RowFormat
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.formats.template_kwargs import template_kwargs
from sftplay.data.formats.tools import texts_in, tools_of
from sftplay.data.formats.unused_keys import PLACEHOLDERS, example, has_placeholder, unused_key
from sftplay.data.readers.piece import Piece
from sftplay.data.rejects import BadRowError, Reject, reject
from sftplay.data.split import Borders, row_key
from sftplay.places import SPLITS

_NO_KEYS: Mapping[str, Any] = {}  # of a row that is not an object


@dataclass(frozen=True)
class ConversionTask:
    """A piece of a file for a worker, and how to read it."""

    file: int
    name: str
    plan: RowFormat
    borders: Borders
    piece: Piece
    strip_reasoning: bool = False
    fix_turns: bool = False


@dataclass(frozen=True)
class SplitRows:
    """Accepted rows of one split, in order: their lines joined, and for each its key, length in
    bytes, and characters.
    """

    lines: bytes
    keys: array[int]
    sizes: array[int]
    asked: array[int]  # characters of all turns but the trained answers
    answered: array[int]  # characters of the trained answers

    def without(self, places: list[int]) -> SplitRows:
        """Return the same rows but those at `places`."""
        if not places:
            return self
        gone, kept, at = set(places), [], 0
        for place, size in enumerate(self.sizes):
            if place not in gone:
                kept.append(self.lines[at : at + size])
            at += size
        columns = (
            array(
                column.typecode, (value for place, value in enumerate(column) if place not in gone)
            )
            for column in (self.keys, self.sizes, self.asked, self.answered)
        )
        return SplitRows(b"".join(kept), *columns)


@dataclass(frozen=True)
class ConvertedPiece:
    """The result of converting one piece.

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

    def of_file(self, file: int) -> ConvertedPiece:
        """Return the same as a piece of the file with that number."""
        return replace(self, file=file)


def convert(work: ConversionTask) -> ConvertedPiece:
    """Convert the rows of one piece.

    Raises:
        DataError: the file as a whole is bad: not UTF-8 (65).
    """
    made, piece = _Made(work), work.piece
    for line, text, row in piece.parsed(made.rejects, work.name):
        made.convert(line, text, row)
    return made.done()


class _Row(NamedTuple):
    """A row: its messages, and those, its tools and its arguments for the template as JSON."""

    messages: list[Message]
    content: bytes

    @property
    def may_be_noteworthy(self) -> bool:
        return may_be_suspicious(self.content) or has_placeholder(self.content)


class _Made:
    """The growing result of one piece."""

    def __init__(self, work: ConversionTask) -> None:
        self._work, self._to_messages = work, converter(work.plan)
        # A row: its messages (and tools) as JSON, characters of the other turns and of the answers.
        self._rows: list[tuple[bytes, int, int]] = []
        self.rejects: list[Reject] = []
        self.dropped: dict[str, int] = {}
        self._unused: dict[str, list[str]] = {}  # places of unused keys, a few for each
        self._reasoning, self._findings = 0, Findings()

    def convert(self, line: int, text: bytes | None, row: Any) -> None:
        """Convert a parsed row, or set it aside."""
        notes = RowNotes(self._work.fix_turns, text is None)
        try:
            if text is not None and _has_tools(text) and exact_json.may_have_special_numbers(text):
                row = exact_json.loads(text)
            made, reasons, asked, answered = self._read(row, notes)
        except BadRowError as bad:
            self.rejects.append(reject(line, bad, text, row))
            return
        self._reasoning += reasons
        self._rows.append((made.content, asked, answered))
        if notes.unused or notes.fixes or notes.findings or made.may_be_noteworthy:
            self._note(made, notes, line)

    def _read(self, row: Any, notes: RowNotes) -> tuple[_Row, bool, int, int]:
        """Read a row: what is written of it, whether it has reasoning, characters of the other
        turns and of the answers.
        """
        plan = self._work.plan
        messages = self._to_messages(row, notes)
        keys = (row if type(row) is dict else _NO_KEYS).keys()
        tools = tools_of(row, plan.tools) if not keys.isdisjoint(plan.tools) else []
        if tools or any("tool_calls" in message for message in messages):
            messages, tools = without_padding(messages, tools, notes)
        content = exact_json.dumps(messages)
        reasons = may_have_reasoning(content) and has_reasoning(messages)
        if reasons and self._work.strip_reasoning:
            messages = without_reasoning(messages)
            content = exact_json.dumps(messages)
        asked, answered = measure(messages)
        if tools:
            asked += measure([{"role": "tools", "content": "".join(texts_in(tools))}])[0]
            content += b',"tools":%b' % exact_json.dumps(tools)
        if TEMPLATE_KWARGS in keys and (arguments := template_kwargs(row, notes)):
            content += b',"%b":%b' % (TEMPLATE_KWARGS.encode(), exact_json.dumps(arguments))
        return _Row(messages, content), reasons, asked, answered

    def _note(self, made: _Row, notes: RowNotes, line: int) -> None:
        place = f"{self._work.name}:{line} ({row_key(made.content).hex()})"
        count_suspicious_characters(made.messages, place, self._findings)
        if has_placeholder(made.content):
            self._findings.add(PLACEHOLDERS, place)
        for what in dict.fromkeys(notes.fixes):
            self._findings.add(
                Finding("fixed_turns", "note", f"{what} (data.odd_turns: fix)"), place
            )
        for finding in dict.fromkeys(notes.findings):
            self._findings.add(finding, place)
        for name, value in notes.unused.items():
            self.dropped[name] = count = self.dropped.get(name, 0) + 1
            if count <= EXAMPLES:
                seen = f"{self._work.name}:{line} ({example(value)})"
                self._unused.setdefault(name, []).append(seen)

    def done(self) -> ConvertedPiece:
        """Return all of it, the rows put into their splits."""
        self.rejects.sort(key=lambda bad: bad.line)
        for name, places in self._unused.items():
            self._findings.add_places(unused_key(name), places, self.dropped[name])
        file, piece = self._work.file, self._work.piece
        found = tuple(self.rejects), self.dropped, piece.note, self._reasoning, self._findings
        splits = _in_splits(self._rows, self._work.borders)
        return ConvertedPiece(file, piece.used, len(self._rows) + len(self.rejects), splits, *found)


def _has_tools(text: bytes) -> bool:
    return b"tool" in text or b"function" in text or b"chat_template_kwargs" in text


def _in_splits(rows: list[tuple[bytes, int, int]], borders: Borders) -> tuple[SplitRows, ...]:
    contents, asked, answered = zip(*rows, strict=True) if rows else ((), (), ())
    names = [row_key(content) for content in contents]
    keys = array("Q", b"".join(names))
    if sys.byteorder == "little":  # a key reads from its first byte on
        keys.byteswap()
    lines = [
        b'{"messages":%b,"id":"%b"}\n' % (content, hexlify(name))
        for content, name in zip(contents, names, strict=True)
    ]
    places = list(map(borders.split_of, keys))
    splits = []
    for split in range(len(SPLITS)):
        chosen = [place == split for place in places]
        mine = list(compress(lines, chosen))
        counts = (
            array(kind, compress(of, chosen))
            for kind, of in (("Q", keys), ("L", asked), ("L", answered))
        )
        own_keys, own_asked, own_answered = counts
        splits.append(
            SplitRows(b"".join(mine), own_keys, array("L", map(len, mine)), own_asked, own_answered)
        )
    return tuple(splits)
