"""`data.mix`: rows of several sources in given shares.

Each split takes rows of every source by its weight until one source has none left, as
`first_exhausted` of datasets' interleave_datasets does; the rest is left out. The rows with the
lowest keys are taken, so the choice depends neither on the order of the rows nor on chance.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress
from pathlib import Path
from typing import Any

from sftplay.console import count_of, share_text
from sftplay.data.conversion.convert import SplitRows
from sftplay.data.conversion.shares import misses, quotas
from sftplay.errors import DataError
from sftplay.places import SPLITS

_ID = b'"id":"'
_SOME = 100_000  # rows whose sources are looked up together


@dataclass
class _Rows:
    """Columns about the rows in a split's file, in their order."""

    keys: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("L"))
    asked: array[int] = field(default_factory=lambda: array("L"))
    answered: array[int] = field(default_factory=lambda: array("L"))
    sources: array[int] = field(default_factory=lambda: array("H"))

    def where(self, kept: Sequence[bool]) -> _Rows:
        columns = (self.keys, self.sizes, self.asked, self.answered, self.sources)
        return _Rows(*(array(one.typecode, compress(one, kept)) for one in columns))


@dataclass(frozen=True)
class LeftOut:
    """Rows of a split that its shares have no place for: how many, and their characters."""

    split: str
    rows: int
    asked: array[int]
    answered: array[int]


class Mix:
    """The sources of a dataset, and which rows are whose.

    Args:
        weights: by source, in their order.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.names, self.weights = list(weights), list(weights.values())
        self._rows = {split: _Rows() for split in SPLITS}
        self._usable = [dict.fromkeys(SPLITS, 0) for _ in weights]
        self._final = [dict.fromkeys(SPLITS, 0) for _ in weights]

    def add(self, split: str, rows: SplitRows, source: int) -> None:
        """Note rows that were written to a split's file."""
        known = self._rows[split]
        known.keys += rows.keys
        known.sizes += rows.sizes
        known.asked += rows.asked
        known.answered += rows.answered
        known.sources += array("H", [source]) * len(rows.keys)

    def forget(self, split: str, starts: Collection[int]) -> None:
        """Take back rows that are no longer in a split's file, by where their lines began."""
        if starts:
            rows = self._rows[split]
            begins = accumulate(rows.sizes, initial=0)
            self._rows[split] = rows.where([begin not in starts for begin in begins][:-1])

    def thin(self, folder: Path) -> Iterable[LeftOut]:
        """Write the splits' files again with the rows that the shares have place for.

        Raises:
            DataError: a source has no row to train on (65).
        """
        for split in SPLITS:
            rows = self._rows[split]
            numbers = Counter(rows.sources)
            found = [numbers[source] for source in range(len(self.names))]
            if split == "train":
                self._refuse_empty(found)
            for source, count in enumerate(found):
                self._usable[source][split] = count
            kept = _chosen(rows, quotas(found, self.weights))
            _rewrite(folder / f"{split}.jsonl", kept)
            gone = rows.where([not one for one in kept])
            self._rows[split] = rows.where(kept)
            yield LeftOut(split, len(gone.keys), gone.asked, gone.answered)

    def rows_in(self, split: str) -> tuple[array[int], array[int]]:
        """Return keys and sizes of the lines in a split's file."""
        return self._rows[split].keys, self._rows[split].sizes

    def count(self, folder: Path) -> None:
        """Count the rows of each source in the files as they stay: some went to another split."""
        import numpy

        keys = numpy.concatenate([numpy.frombuffer(r.keys, numpy.uint64) for r in self._parts()])
        whose = numpy.concatenate(
            [numpy.frombuffer(r.sources, numpy.uint16) for r in self._parts()]
        )
        order = numpy.argsort(keys)
        keys, whose = keys[order], whose[order]
        for split in SPLITS:
            for some in _keys_of(folder / f"{split}.jsonl"):
                found = whose[numpy.searchsorted(keys, numpy.frombuffer(some, numpy.uint64))]
                for source, count in enumerate(numpy.bincount(found, minlength=len(self.names))):
                    self._final[source][split] += int(count)

    def _parts(self) -> list[_Rows]:
        return [rows for rows in self._rows.values() if rows.keys]

    def _refuse_empty(self, found: Sequence[int]) -> None:
        for name, count in zip(self.names, found, strict=True):
            if not count:
                raise DataError(
                    "no row of this source is left to train on, so it can't have a share",
                    where=name,
                    todo="its rows are bad, equal to those of an earlier source, or for evaluation"
                    " only: see report.json of a run without data.mix, or take it out of data.mix",
                )

    def exhausted(self, split: str) -> list[str]:
        """Return the sources all of whose rows are taken: more of them would make more of all."""
        found = [usable[split] for usable in self._usable]
        taken = quotas(found, self.weights)
        return [
            name
            for name, usable, quota in zip(self.names, found, taken, strict=True)
            if usable and usable == quota
        ]

    def limit(self) -> str | None:
        """Say which source has most rows to train on left out; None where half of them are used."""
        found = [usable["train"] for usable in self._usable]
        usable, used = sum(found), sum(quotas(found, self.weights))
        if used * 2 >= usable:
            return None
        ended = [
            f"{name} has {count_of(found[self.names.index(name)])}"
            for name in self.exhausted("train")
        ]
        return f"{' and '.join(ended)}, so {usable - used:,} of {count_of(usable)} are left out"

    def off(self) -> Iterable[tuple[str, str]]:
        """Yield (split, what is wrong) for each source that misses its share of a split."""
        for split in SPLITS:
            counts = [final[split] for final in self._final]
            whole, weights = sum(counts), sum(self.weights)
            for source in misses(counts, self.weights):
                asked = self.weights[source] / weights
                real = f"{count_of(counts[source])}, {share_text(counts[source] / whole)}"
                found = f"{self.names[source]} has {real if counts[source] else 'no row'}"
                yield split, f"{found} (asked: {share_text(asked)})"

    def to_json(self) -> dict[str, Any]:
        """For report.json: rows and shares of each source."""
        whole = sum(self.weights)
        totals = {split: sum(final[split] for final in self._final) for split in SPLITS}
        exhausted = {split: self.exhausted(split) for split in SPLITS}
        sources = [
            {
                "source": name,
                "weight": weight,
                "asked": weight / whole,
                "usable": sum(usable.values()),
                "rows": final,
                "shares": {s: final[s] / totals[s] if totals[s] else None for s in SPLITS},
                "exhausted_in": [split for split in SPLITS if name in exhausted[split]],
            }
            for name, weight, usable, final in zip(
                self.names, self.weights, self._usable, self._final, strict=True
            )
        ]
        return {
            "strategy": "first_exhausted",
            "exhausted": exhausted["train"],
            "sources": sources,
        }


def _chosen(rows: _Rows, taken: Sequence[int]) -> list[bool]:
    """Return for each row whether it is among the lowest keys of its source."""
    if not rows.keys:
        return []
    import numpy

    keys = numpy.frombuffer(rows.keys, numpy.uint64)
    whose = numpy.frombuffer(rows.sources, numpy.uint16)
    kept = numpy.zeros(len(keys), bool)
    for source, quota in enumerate(taken):
        own = numpy.flatnonzero(whose == source)
        kept[own[numpy.argsort(keys[own])[:quota]]] = True
    found: list[bool] = kept.tolist()
    return found


def _rewrite(path: Path, kept: Sequence[bool]) -> None:
    if all(kept):
        return
    new = path.with_suffix(".new")
    with open(path, "rb") as lines, open(new, "wb") as out:
        out.writelines(compress(lines, kept))
    new.replace(path)


def _keys_of(path: Path) -> Iterable[array[int]]:
    """Yield the keys of a file's rows, some at a time."""
    keys = array("Q")
    with open(path, "rb") as lines:
        for line in lines:
            start = line.rfind(_ID) + len(_ID)
            keys.append(int(line[start : start + 16], 16))
            if len(keys) == _SOME:
                yield keys
                keys = array("Q")
    if keys:
        yield keys
