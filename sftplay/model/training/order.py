"""The order in which rows are trained: a pure function of seed and epoch, so that a resumed run
sees what it would have seen, and that several ranks share.

Rows of like length share a batch (less padding), batches come in random order. Grouping works
inside windows of shuffled rows, as transformers' own length-grouped sampler does, so that every
epoch mixes the rows again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from sftplay.model.forward.collate import IGNORED

WINDOW = 50  # batches that are sorted by length together
FILLER = -1  # number of a row that is none: it fills up the last pass of several ranks
_FILLER_IDS = [0, 0]  # the least that a model takes and that has a next token


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


def filled(order: Sequence[int], multiple: int) -> list[int]:
    """Return the order with fillers at its end, so that the ranks' passes are all full.

    accelerate would fill them up with rows from the beginning, which then were trained twice.
    """
    return [*order, *[FILLER] * (-len(order) % multiple)]


class EpochSampler(torch.utils.data.Sampler[int]):
    """`epoch_order` as a sampler; the data loader calls set_epoch.

    Args:
        batch_size: rows of an optimizer step.
        multiple: rows of one pass of all ranks. accelerate deals passes out one after another: rank
            r of W gets passes r, r + W, r + 2 W …
    """

    def __init__(
        self, lengths: Sequence[int], seed: int, batch_size: int, multiple: int = 1
    ) -> None:
        self._lengths, self._seed, self._batch_size = lengths, seed, batch_size
        self._multiple = multiple
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths) + -len(self._lengths) % self._multiple

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self._lengths, self._seed, self._epoch, self._batch_size)
        return iter(filled(order, self._multiple))


class FilledRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Training rows, and a row without trained tokens for the number FILLER."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number == FILLER:
            return {"input_ids": _FILLER_IDS, "labels": [IGNORED] * len(_FILLER_IDS)}
        found: dict[str, Any] = self._rows[number]
        return found


def real_tokens(batch: dict[str, Any]) -> int:
    """Tokens of the rows in a batch, without padding and fillers."""
    mask = batch["attention_mask"]
    lengths = torch.as_tensor(batch.get("row_lengths", mask.sum(1)))
    labels = batch["labels"]
    if "row_lengths" in batch:
        trained = torch.stack(
            [(part != IGNORED).any() for part in labels[0].split(lengths.tolist())]
        )
    else:
        trained = (labels != IGNORED).any(1).to(lengths.device)
    fillers = (lengths == len(_FILLER_IDS)) & ~trained.to(lengths.device)
    return int(lengths.sum() - lengths[fillers].sum())
