"""Cross entropy at the trained positions alone: the vocabulary matrix is never multiplied with a prompt's position.

A hook in front of the output layer keeps the hidden states whose next token is trained. It sits inside the model, so
whatever the model does to its logits afterwards (soft caps, scales) still happens, for every architecture alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from sftplay.model.collate import IGNORED, Collator


def target_loss(model: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
    """Summed cross entropy (nats, fp32) over the trained tokens of a batch, and their number.

    Args:
        inputs: input_ids, attention_mask and labels of shape (rows, length); labels are aligned with input_ids, so
            position t predicts label t + 1.
    """
    shifted = inputs["labels"][:, 1:]
    keep = shifted != IGNORED
    with _only(model, keep):
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
    return cross_entropy(logits[0].float(), shifted[keep], reduction="sum"), int(keep.sum())


@contextmanager
def _only(model: Any, keep: torch.Tensor) -> Iterator[None]:
    """Let only the hidden states at `keep`, shape (rows, length - 1), reach the output layer, as (1, kept, hidden)."""

    def select(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = args[0]
        return (hidden[:, :-1][keep.to(hidden.device)].unsqueeze(0), *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def mean_target_loss(
    model: Any, rows: Sequence[dict[str, Any]], collator: Collator, batch_size: int, advance: Any = None
) -> tuple[float, int]:
    """Mean loss per trained token over rows (every token weighs the same), and the number of tokens.

    Args:
        rows: anything with len() and integer indexing that yields input_ids and labels.
        advance: called with the number of rows done, for progress.
    """
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]["input_ids"]), i))
    total, tokens = 0.0, 0
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), batch_size):
            batch = collator([rows[i] for i in order[start : start + batch_size]])
            loss, count = target_loss(model, {name: value.to(model.device) for name, value in batch.items()})
            total, tokens = total + loss.item(), tokens + count
            if advance:
                advance(len(batch["input_ids"]))
    finally:
        model.train(was_training)
    return total / max(tokens, 1), tokens
