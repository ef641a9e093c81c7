"""The rows that are searched for near duplicates: all, or a sample by their ids, which does not
depend on the order of the rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftplay.data.blocks import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 10_000  # rows looked at where they are only counted: a second or two
_ID_TAIL = slice(-10, -2)  # the last eight digits of the id, in a line without its line feed
_TAILS = 1 << 32
_TOGETHER = 1000  # rows handed out in one go, or a block with more


@dataclass(frozen=True)
class Lines:
    """Lines that are looked at, where they begin in the file, and how many bytes of it were read
    for them.
    """

    file: int
    size: int
    at: array[int]
    lines: list[bytes]


def share_of(rows: int, *, every_row: bool) -> float:
    """Return the share of so many rows that is looked at."""
    return 1.0 if every_row or rows <= SAMPLE else SAMPLE / rows


class Sample:
    """Rows to look at, chosen while they are written: those whose ids end lowest, so it does not
    depend on the rows' order.

    The number of all rows is not known yet, so some more are kept at first.
    """

    def __init__(self, files: int) -> None:
        self._limit = _TAILS
        self._ends = [0] * files
        self._kept: list[
            tuple[int, NDArray[Any], NDArray[Any]]
        ] = []  # file, tails of ids, where the lines begin
        self._count = 0

    def add(self, file: int, keys: array[int], sizes: array[int]) -> None:
        """Add rows that were written to a file, by their keys and the lengths of their lines."""
        if not keys:
            return
        import numpy

        lengths = numpy.array(sizes, numpy.int64)
        ends = self._ends[file] + numpy.cumsum(lengths)
        tails = numpy.frombuffer(keys, numpy.uint64).astype(numpy.uint32).astype(numpy.int64)
        low = numpy.flatnonzero(tails < self._limit)
        self._kept.append((file, tails[low], (ends - lengths)[low]))
        self._ends[file] = int(ends[-1])
        self._count += len(low)
        while self._count > 4 * SAMPLE:
            self._limit //= 2
            self._kept = [
                (of, each[each < self._limit], at[each < self._limit])
                for of, each, at in self._kept
            ]
            self._count = sum(len(at) for *_, at in self._kept)

    def of(self, file: int, share: float) -> list[int] | None:
        """Find where the chosen share of a file's lines begins; None where that is not known."""
        limit = int(share * _TAILS)
        if limit > self._limit:
            return None
        return [
            start
            for of, tails, at in self._kept
            if of == file
            for start in at[tails < limit].tolist()
        ]


def looked_at(number: int, path: Path, share: float, sample: Sample | None) -> Iterator[Lines]:
    """Yield the lines of a file that are looked at, some at a time; a share of them is chosen by
    their ids.
    """
    starts = sample.of(number, share) if sample and share < 1.0 else None
    if starts is None:
        yield from searched(number, path, share)
        return
    with open(path, "rb") as rows:
        for first in range(0, len(starts), _TOGETHER):
            some = starts[first : first + _TOGETHER]
            lines = [rows.readline() for start in some if rows.seek(start) >= 0]
            yield Lines(number, 0, array("q", some), lines)
    yield Lines(number, path.stat().st_size, array("q"), [])


def searched(number: int, path: Path, share: float) -> Iterator[Lines]:
    """Yield the same by reading every line."""
    offset, limit = 0, b"%08x" % min(int(share * _TAILS), _TAILS - 1)
    size, at, chosen = 0, array("q"), []
    for block in blocks(path):
        lines = block.lines.split(b"\n")
        starts = accumulate(
            map(len, lines), lambda start, length: start + length + 1, initial=offset
        )
        for start, line in zip(starts, lines, strict=False):
            if line and (share == 1.0 or line[_ID_TAIL] < limit):
                at.append(start)
                chosen.append(line)
        offset += len(block.lines)
        size += len(block.lines)
        if len(chosen) >= _TOGETHER:
            yield Lines(number, size, at, chosen)
            size, at, chosen = 0, array("q"), []
    yield Lines(number, size, at, chosen)
