"""Near duplicates: rows that share most of their wording with an earlier one, found by MinHash and
then checked one by one.

A row is the set of its word triples (system turn and tools left out: they repeat by design). Rensa
makes a sketch of each set (R-MinHash); rows whose sketches agree in a whole band become candidates
(locality-sensitive hashing: Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3),
and of candidates the Jaccard similarity of the sets is computed. So what is called a near duplicate
is one; of pairs right at the limit one in 5,000 is missed, of more similar ones fewer.
One module although it is long: the steps of the method follow each other.
"""

from __future__ import annotations

import os
import re
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson

from sftplay.data.near_duplicates.sample import Lines, Sample, looked_at, share_of
from sftplay.data.parallel import ordered_map, worker_count

if TYPE_CHECKING:
    from numpy import uint32
    from numpy.typing import NDArray

LIKE = 0.8  # Jaccard similarity from which on two rows are near duplicates
_SLOTS, _BANDS, _SEED = 64, 16, 1
_WIDTH = _SLOTS // _BANDS
# sketches that agree in a smaller share of their slots are no candidates: 4 standard errors below
# LIKE
_SURE = 0.6
_PLAIN = str.maketrans(dict.fromkeys("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", " "))
# Scripts without blanks: each character is a word.
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


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


@dataclass(frozen=True)
class _Sketched:
    """Rows of a block that are looked at.

    Attributes:
        at: where their lines begin in the file.
        sketches: uint32 (rows, _SLOTS).
        triples: hashes of their word triples one row after the other, uint32; counts: how many each
            has.
    """

    file: int
    size: int
    at: array[int]
    sketches: NDArray[uint32]
    triples: NDArray[uint32]
    counts: NDArray[Any]


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
        for done in ordered_map(_sketch, chosen, processes, apart=True):
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


def _sketch(some: Lines) -> _Sketched:
    return _Sketched(
        some.file, some.size, some.at, *_sketches([words_of(text_of(line)) for line in some.lines])
    )


def _sketches(rows: list[list[str]]) -> tuple[NDArray[uint32], NDArray[uint32], NDArray[Any]]:
    """Return sketches of the word triples of some rows, and the triples themselves, hashed from the
    hashes of their words.
    """
    import numpy

    os.environ["RAYON_NUM_THREADS"] = (
        "1"  # of this worker: rensa would start a thread for each core in every one
    )
    from rensa import RMinHash

    if not rows:
        return (
            numpy.zeros((0, _SLOTS), numpy.uint32),
            numpy.zeros(0, numpy.uint32),
            numpy.zeros(0, numpy.int64),
        )
    hashes = RMinHash.hash_token_sets(rows)
    lengths = numpy.fromiter(map(len, hashes), numpy.int64, len(hashes))
    flat = numpy.fromiter(chain.from_iterable(hashes), numpy.uint64, int(lengths.sum()))
    triples = (
        flat[:-2] * numpy.uint64(0x9E3779B97F4A7C15)
        + flat[1:-1] * numpy.uint64(0xC2B2AE3D27D4EB4F)
        + flat[2:]
    )
    triples ^= triples >> numpy.uint64(29)
    inside = numpy.ones(len(flat), bool)
    ends = numpy.cumsum(lengths)
    inside[ends - 1] = inside[ends - 2] = (
        False  # a triple that begins there would reach into the next row
    )
    triples = triples[inside[:-2]]
    borders = numpy.concatenate(([0], numpy.cumsum(lengths - 2))).astype(numpy.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(triples, borders, _SLOTS, _SEED)
    small = (triples >> numpy.uint64(32)).astype(numpy.uint32)
    return numpy.array(matrix.to_rows(), numpy.uint32), small, lengths - 2


def text_of(line: bytes) -> str:
    """Return what rows are compared by: the texts of all turns but the system's, in lower case."""
    return "\n".join(
        turn["content"] for turn in orjson.loads(line)["messages"] if turn["role"] != "system"
    ).lower()


def words_of(text: str) -> list[str]:
    """Return the words of a text, three at least."""
    words = text.translate(_PLAIN).split() if text.isascii() else _WORD.findall(text)
    return words if len(words) > 2 else [*words, "", "", ""][:3]


def _candidates(sketches: NDArray[uint32]) -> Iterator[tuple[int, list[int]]]:
    """Yield (row, earlier rows that may be like it), by row: those with which it agrees in a band,
    of each band two at most.
    """
    import numpy

    found = []
    for start in range(0, _SLOTS, _WIDTH):
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
