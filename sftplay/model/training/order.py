"""The order in which rows are trained: a pure function of seed and epoch, so that a resumed run
sees what it would have seen.

Rows of like length share a batch (less padding), batches come in random order. Grouping works
inside windows of shuffled rows, as transformers' own length-grouped sampler does, so that every
epoch mixes the rows again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import torch

WINDOW = 50  # batches that are sorted by length together


def epoch_order(lengths: Sequence[int], seed: int, epoch: int, batch_size: int) -> list[int]:
    """Row numbers in training order; consecutive `batch_size` of them are one optimizer step's.

    The last, partly filled batch stays last, so that no full batch is cut.
    """
    shuffle = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    rows = list(range(len(lengths)))
    shuffle.shuffle(rows)
    size = WINDOW * batch_size
    grouped = [
        row
        for start in range(0, len(rows), size)
        for row in sorted(rows[start : start + size], key=lambda r: (-lengths[r], r))
    ]
    batches = [grouped[start : start + batch_size] for start in range(0, len(grouped), batch_size)]
    tail = [batches.pop()] if batches and len(batches[-1]) < batch_size else []
    shuffle.shuffle(batches)
    return [row for batch in [*batches, *tail] for row in batch]


class EpochSampler(torch.utils.data.Sampler[int]):
    """`epoch_order` as a sampler; the data loader calls set_epoch."""

    def __init__(self, lengths: Sequence[int], seed: int, batch_size: int) -> None:
        self._lengths, self._seed, self._batch_size = lengths, seed, batch_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self._lengths, self._seed, self._epoch, self._batch_size))
