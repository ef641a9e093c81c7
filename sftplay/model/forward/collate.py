"""Rows of different lengths → what the model takes: a rectangle with padding, or one sequence
without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from sftplay.settings import Settings

IGNORED = -100  # PyTorch's default ignore_index of the cross entropy
Collate = Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


@dataclass(frozen=True)
class Collator:
    """Pads on the right, masked by position, never by token id.

    Returns tensors of shape (rows, longest): input_ids, attention_mask (1 on real positions),
    labels (-100 on inputs and padding).
    """

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
        for number, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[number, :length] = torch.as_tensor(row["input_ids"], dtype=torch.long)
            labels[number, :length] = torch.as_tensor(row["labels"], dtype=torch.long)
            mask[number, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@dataclass(frozen=True)
class Packer:
    """Lays the rows of a pass end to end; positions start again with each row, and no row predicts
    the next one's beginning.

    Returns tensors of shape (1, tokens of all rows): input_ids, attention_mask (1 everywhere),
    labels, position_ids; and row_lengths, a list of the rows' tokens. What keeps attention inside a
    row is `packing`.
    """

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["input_ids"]) for row in rows]
        ids, labels = (
            torch.cat([torch.as_tensor(row[key], dtype=torch.long) for row in rows])
            for key in ("input_ids", "labels")
        )
        labels[[0, *accumulate(lengths[:-1])]] = IGNORED
        batch = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": labels,
            "position_ids": torch.cat([torch.arange(length) for length in lengths]),
        }
        return {name: value.unsqueeze(0) for name, value in batch.items()} | {
            "row_lengths": lengths
        }


def collate_for(settings: Settings, pad_id: int) -> Collate:
    """Return the function that puts the rows of a pass together: padded, or end to end."""
    return Packer() if settings.train.packing else Collator(pad_id)


def on_device(batch: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The batch with its tensors there."""
    return {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in batch.items()
    }
