"""Near duplicates: rows that share most of their wording with an earlier one, found by MinHash and
then checked one by one.

A row is the set of its word triples (system turn and tools left out: they repeat by design). Rensa
makes a sketch of each set (R-MinHash); rows whose sketches agree in a whole band become candidates
(locality-sensitive hashing: Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3),
and of candidates the Jaccard similarity of the sets is computed. So what is called a near duplicate
is one; of pairs right at the limit one in 5,000 is missed, of more similar ones fewer.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sftplay.data.near_duplicates.sample import Sample, looked_at, share_of
from sftplay.data.near_duplicates.sketches import SLOTS, sketch
from sftplay.data.parallel import ordered_map, worker_count

if TYPE_CHECKING:
    from numpy import uint32
    from numpy.typing import NDArray

LIKE = 0.8  # Jaccard similarity from which on two rows are near duplicates
_BANDS = 16
_WIDTH = SLOTS // _BANDS
# sketches that agree in a smaller share of their slots are no candidates: 4 standard errors below
# LIKE
_SURE = 0.6


@dataclass(frozen=True)
class NearDuplicate:
    """A row that is like an earlier one: the index of its file, where its line begins there, and
    the same of the earlier one.
    """

    file: int
    at: int
    like_file: int
    like_at: int


@dataclass(frozen=True)
class NearDuplicates:
    """Near duplicates among the rows looked at."""

    rows: int
    looked_at: int
    pairs: tuple[NearDuplicate, ...]


def find_near(
    files: Sequence[Path],
    rows: int,
    *,
    every_row: bool,
    workers: int | None,
    advance: Callable[[int], None],
    sample: Sample | None = None,
) -> NearDuplicates:
    """Near duplicates in files of processed rows.

    Args:
        files: in the order of precedence: of two rows that are alike, the one that comes first
            counts as the original.
        rows: how many there are in all.
        every_row: else a sample of SAMPLE rows, chosen by their ids, so that it does not depend on
            their order.
        advance: told the bytes read.
        sample: rows chosen before, while they were written; it spares reading all of them again.
    """
    import numpy

    share = share_of(rows, every_row=every_row)
    processes = worker_count(workers, sum(path.stat().st_size for path in files))
    places, sketches, counts = [], [], [numpy.zeros(1, numpy.int64)]
    with (
        tempfile.TemporaryFile() as triples
    ):  # on disk: with every row of a large file there are gigabytes
        chosen = chain.from_iterable(
            looked_at(number, path, share, sample) for number, path in enumerate(files)
        )
        for done in ordered_map(sketch, chosen, processes, apart=True):
            places += [(done.file, at) for at in done.at]
            sketches.append(done.sketches)
            counts.append(done.counts)
            triples.write(done.triples.data)
            advance(done.size)
        if len(places) < 2:
            return NearDuplicates(rows, len(places), ())
        sets = _Sets(triples, numpy.cumsum(numpy.concatenate(counts)))
        candidates = _candidates(numpy.concatenate(sketches))
        pairs = tuple(
            NearDuplicate(*places[row], *places[original])
            for row, original in _confirmed(sets, candidates)
        )
        return NearDuplicates(rows, len(places), pairs)


def _candidates(sketches: NDArray[uint32]) -> Iterator[tuple[int, list[int]]]:
    """Yield (row, earlier rows that may be like it), by row: those with which it agrees in a band,
    of each band two at most.
    """
    import numpy

    found = []
    for start in range(0, SLOTS, _WIDTH):
        band = (
            numpy.ascontiguousarray(sketches[:, start : start + _WIDTH])
            .view(f"V{4 * _WIDTH}")
            .ravel()
        )
        _, group = numpy.unique(band, return_inverse=True)
        order = numpy.argsort(group, kind="stable")
        begins = numpy.concatenate(([True], group[order][1:] != group[order][:-1]))
        first = numpy.maximum.accumulate(numpy.where(begins, numpy.arange(len(order)), 0))
        later = numpy.flatnonzero(~begins)
        for earlier in (first[later], later - 1):
            found.append((order[later] << 32) | order[earlier])
    pairs = numpy.unique(numpy.concatenate(found))
    rows, earlier = pairs >> 32, pairs & 0xFFFFFFFF
    near: dict[int, list[int]] = {}
    for at in range(0, len(pairs), 1 << 16):
        some = slice(at, at + (1 << 16))
        agree = (sketches[rows[some]] == sketches[earlier[some]]).mean(axis=1) >= _SURE
        for row, before in zip(
            rows[some][agree].tolist(), earlier[some][agree].tolist(), strict=True
        ):
            near.setdefault(row, []).append(before)
    yield from near.items()


def _confirmed(
    sets: _Sets, candidates: Iterable[tuple[int, list[int]]]
) -> Iterator[tuple[int, int]]:
    """Yield (row, original) for each candidate that is a near duplicate of a row which is none
    itself.
    """
    originals: dict[int, int] = {}
    for row, earlier in candidates:
        own = sets.read(row)
        for original in dict.fromkeys(originals.get(before, before) for before in earlier):
            if similarity(own, sets.of(original)) >= LIKE:
                originals[row] = original
                yield row, original
                break


def similarity(one: frozenset[Any], other: frozenset[Any]) -> float:
    """Jaccard similarity of two sets that are not both empty."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


class _Sets:
    """The sets of word triples, read from a file of uint32; row n has those from ends[n] to ends[n
    + 1].
    """

    def __init__(self, file: IO[bytes], ends: NDArray[Any]) -> None:
        file.flush()
        self._file, self._ends = file.fileno(), ends
        self.of = lru_cache(maxsize=1024)(self.read)

    def read(self, row: int) -> frozenset[int]:
        start, end = 4 * int(self._ends[row]), 4 * int(self._ends[row + 1])
        return frozenset(array("I", os.pread(self._file, end - start, start)))
