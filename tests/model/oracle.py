"""The loss as PyTorch computes it over the full logits of each row alone: what every other way is
compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from sftplay.model.forward.collate import IGNORED


def one_by_one(model: Any, rows: Sequence[dict[str, Any]]) -> tuple[torch.Tensor, int]:
    """Summed loss and trained tokens: row by row, no padding, full logits."""
    total, count = torch.zeros(()), 0
    for row in rows:
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].float()
        labels = torch.tensor(row["labels"])[1:]
        total = total + cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
        count += int((labels != IGNORED).sum())
    return total, count
