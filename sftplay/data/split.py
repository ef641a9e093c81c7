"""The split of a row, and whether it is a duplicate: both decided by a hash of its content.

So a row stays in its split when the file grows or is put in another order, and equal rows never
straddle two splits.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import bool_, uint64
    from numpy.typing import NDArray

_SPACE = 1 << 64
_FEW = 100_000  # rows: up to here a set does, and numpy (0.2 s) stays out


def row_key(content: bytes) -> bytes:
    """Return 8 bytes that stand for a row: BLAKE2b (RFC 7693) of its messages as compact JSON."""
    return hashlib.blake2b(content, digest_size=8).digest()


@dataclass(frozen=True)
class Borders:
    """Keys below `test` belong to the test split, those from there to `val` to the val split, the
    others to train.
    """

    test: int
    val: int

    def split_of(self, key: int) -> int:
        """Index into places.SPLITS: 0 train, 1 val, 2 test."""
        return 0 if key >= self.val else 2 if key < self.test else 1


def fixed_borders(split: str) -> Borders:
    """Return borders by which every row belongs to one split."""
    return Borders(_SPACE if split == "test" else 0, 0 if split == "train" else _SPACE)


def borders(val_share: float, test_share: float) -> Borders:
    """Return borders for shares of the rows."""
    test = int(test_share * _SPACE)
    return Borders(test, test + int(val_share * _SPACE))


class SeenRows:
    """The keys of all rows so far, in at most 16 bytes a row once they are many: sorted runs of
    8-byte numbers.

    Two different rows with one key would be taken for duplicates; among a million rows the chance
    is below 1 in 30 million.
    """

    def __init__(self) -> None:
        self._few: set[int] = set()
        self._runs: list[NDArray[uint64]] = []

    def duplicates(self, keys: Sequence[int]) -> list[int]:
        """Return positions in `keys` of those seen before, here or in an earlier call; from now on
        all of them are seen.
        """
        if not self._runs and len(self._few) + len(keys) <= _FEW:
            return self._among_few(keys)
        return self._among_many(keys)

    def known(self, keys: Sequence[int]) -> list[int]:
        """Return positions in `keys` of those seen in earlier calls; nothing is remembered."""
        if not self._runs:
            return (
                [place for place, key in enumerate(keys) if key in self._few] if self._few else []
            )
        import numpy

        given = numpy.frombuffer(array("Q", keys), numpy.uint64)
        return [int(place) for place in numpy.flatnonzero(~self._fresh(given))]

    def take(self, other: SeenRows) -> None:
        """Remember all that `other` has seen, which is empty afterwards."""
        for run in other._runs:
            self.duplicates(array("Q", run.tobytes()))
        self.duplicates(array("Q", other._few))
        other._runs, other._few = [], set()

    def _among_few(self, keys: Sequence[int]) -> list[int]:
        seen, fresh = self._few, set(keys)
        if len(fresh) == len(keys) and seen.isdisjoint(fresh):
            seen |= fresh
            return []
        again: list[int] = []
        for place, key in enumerate(keys):
            if key in seen:
                again.append(place)
            else:
                seen.add(key)
        return again

    def _among_many(self, keys: Sequence[int]) -> list[int]:
        import numpy

        if self._few:
            self._runs = [numpy.sort(numpy.fromiter(self._few, numpy.uint64, len(self._few)))]
            self._few = set()
        given = numpy.frombuffer(array("Q", keys), numpy.uint64)
        unique, first = numpy.unique(given, return_index=True)
        again = numpy.ones(len(given), bool)
        again[first] = False
        fresh = self._fresh(unique)
        again[first[~fresh]] = True
        self._add(unique[fresh])
        return [int(place) for place in numpy.flatnonzero(again)]

    def _fresh(self, keys: NDArray[uint64]) -> NDArray[bool_]:
        """Return which keys no run holds."""
        import numpy

        fresh = numpy.ones(len(keys), bool)
        for run in self._runs:
            place = numpy.minimum(numpy.searchsorted(run, keys), len(run) - 1)
            fresh &= run[place] != keys
        return fresh

    def _add(self, run: NDArray[uint64]) -> None:
        """Keep few runs: a run is merged with its neighbor while it is not much smaller."""
        import numpy

        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = numpy.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")
        if len(run):
            self._runs.append(run)
