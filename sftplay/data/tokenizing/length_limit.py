"""Rows that are longer than the model is to read: refused, dropped or cut, and always counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sftplay.data.bins import bins_of
from sftplay.data.findings import Finding
from sftplay.data.tokenizing.artifact import IGNORED, TokenBatch
from sftplay.errors import DataError

Policy = Literal["error", "drop", "truncate"]
_QUANTILES = (0.5, 0.9, 0.99)
_LONGER = "a larger model.max_length keeps them whole (requires more memory)"


@dataclass
class LengthLimit:
    """Applies the limit to one batch after the other and remembers what it did.

    Attributes:
        limit: tokens a row may have (`model.max_length`).
        too_long, dropped, truncated: rows, so far.
        examples: id and length of the first rows that were too long.
        seen, trained: tokens of each row, and those of them that are trained, before the limit;
        int32 (rows,) each.
    """

    limit: int
    policy: Policy
    too_long: int = 0
    dropped: int = 0
    truncated: int = 0
    examples: list[tuple[str, int]] = field(default_factory=list)
    seen: list[np.ndarray] = field(default_factory=list)
    trained: list[np.ndarray] = field(default_factory=list)

    def apply(self, batch: TokenBatch) -> TokenBatch:
        """Return the batch as the policy leaves it."""
        self.seen.append(batch.lengths.astype(np.int32))
        self.trained.append(_trained(batch).astype(np.int32))
        over = np.flatnonzero(batch.lengths > self.limit)
        if not len(over):
            return batch
        self.too_long += len(over)
        room = max(0, 5 - len(self.examples))
        self.examples += [(batch.ids[row], int(batch.lengths[row])) for row in over[:room]]
        kept = batch if self.policy != "truncate" else self._cut(batch)
        keep = batch.lengths <= self.limit
        if self.policy == "truncate":
            keep |= _trained(kept) > 0
            self.truncated += int(np.count_nonzero(keep[over]))
        self.dropped += int(np.count_nonzero(~keep))
        return _select(kept, keep)

    def untrained(self) -> int:
        """Count the rows without a trained token, before the limit."""
        return sum(int(np.count_nonzero(counts == 0)) for counts in self.trained)

    def bars(self, of: list[np.ndarray]) -> list[list[int]]:
        """Return [from, to, rows] for a histogram of `seen` or `trained`."""
        values, counts = np.unique(
            np.concatenate(of) if of else np.zeros(0, np.int32), return_counts=True
        )
        return bins_of(list(zip(values.tolist(), counts.tolist(), strict=True)))

    def finding(self) -> Finding:
        """Return what became of rows that are too long."""
        done = f"{self.dropped:,} dropped, {self.truncated:,} cut (data.on_too_long: {self.policy})"
        return Finding(
            "too_long",
            "warning",
            f"longer than model.max_length ({self.limit:,} tokens): {done}",
            _LONGER,
        )

    def quantiles(self, of: list[np.ndarray] | None = None) -> dict[str, int]:
        """Return lengths of all rows in tokens: median, 90 %, 99 %, longest.

        Empty where there were no rows.
        """
        of = self.seen if of is None else of
        lengths = np.concatenate(of) if of else np.zeros(0, np.int32)
        if not len(lengths):
            return {}
        values = np.quantile(lengths, _QUANTILES, method="higher")
        names = (f"p{round(share * 100)}" for share in _QUANTILES)
        return {
            **{name: int(value) for name, value in zip(names, values, strict=True)},
            "max": int(lengths.max()),
        }

    def line(self) -> str:
        """Return how many rows are too long, which, and how long rows are."""
        rows = sum(len(lengths) for lengths in self.seen)
        examples = ", ".join(f"{row_id} ({length:,})" for row_id, length in self.examples)
        more = ", …" if self.too_long > len(self.examples) else ""
        quantiles = ", ".join(f"{name} {value:,}" for name, value in self.quantiles().items())
        return (
            f"{self.too_long:,} of {rows:,} rows are longer than model.max_length ({self.limit:,} tokens): {examples}{more}\n"
            f"  tokens a row: {quantiles}"
        )

    def refuse(self, readable: int | None) -> DataError:
        """Return the error for `on_too_long: error`, with settings that would do.

        Args:
            readable: the most tokens the model can read, None where its config does not say.
        """
        longest = self.quantiles()["max"]
        wanted = math.ceil(longest / 64) * 64
        if readable is not None:
            wanted = min(wanted, readable)
        todo = ["data.on_too_long: drop leaves these rows out, truncate cuts their ends off"]
        if wanted >= longest:
            todo.insert(
                0,
                f"make room for every row: --set model.max_length={wanted} (requires more memory)",
            )
        return DataError(self.line(), todo="\n".join(todo))

    def _cut(self, batch: TokenBatch) -> TokenBatch:
        """Return every row cut to the limit, from its end."""
        starts = np.cumsum(batch.lengths) - batch.lengths
        position = np.arange(len(batch.tokens)) - np.repeat(starts, batch.lengths)
        keep = position < self.limit
        return TokenBatch(
            batch.ids, np.minimum(batch.lengths, self.limit), batch.tokens[keep], batch.labels[keep]
        )


def _trained(batch: TokenBatch) -> np.ndarray:
    """Trained tokens of each row, int64 (rows,)."""
    total = np.concatenate(([0], np.cumsum(batch.labels != IGNORED)))
    ends = np.cumsum(batch.lengths)
    return np.asarray(total[ends] - total[ends - batch.lengths])


def _select(batch: TokenBatch, keep: np.ndarray) -> TokenBatch:
    """Return the rows with `keep`, bool (rows,)."""
    if keep.all():
        return batch
    ids: Sequence[str] = [row_id for row_id, kept in zip(batch.ids, keep, strict=True) if kept]
    mask = np.repeat(keep, batch.lengths)
    return TokenBatch(ids, batch.lengths[keep], batch.tokens[mask], batch.labels[mask])
