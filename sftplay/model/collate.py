"""Rows of different lengths → one rectangle. Padding is masked by position, never by token id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORED = -100  # PyTorch's default ignore_index of the cross entropy


@dataclass(frozen=True)
class Collator:
    """Pads on the right.

    Returns tensors of shape (rows, longest): input_ids, attention_mask (1 on real positions), labels (-100 on inputs and
    padding).
    """

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
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
