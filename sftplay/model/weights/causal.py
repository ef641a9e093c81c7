"""Check that a model is a causal language model, by its computation and not by its name: a later
token must not change an earlier output.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sftplay.errors import ConfigError, NonFiniteError

TOKENS, CHANGED = 8, 2  # of a row, and how many at its end differ in the second row
LEAK = 0.1  # of what the changed tokens' own outputs differ by; rounding leaves far less


@torch.no_grad()
def require_causal(model: Any, folder: Path) -> None:
    """Compare two rows that differ in their last tokens only.

    Raises:
        ConfigError: an earlier output differs (78). NonFiniteError: it computes no numbers (80).
    """
    first = _row(model)
    second = [*first[:-CHANGED], *(token + 1 for token in first[-CHANGED:])]
    ids = torch.tensor([first, second], device=model.device)
    one, other = model(input_ids=ids, use_cache=False).logits.float()
    if not bool(torch.isfinite(one).all() and torch.isfinite(other).all()):
        raise NonFiniteError(
            "the base model computes numbers that are not finite, before any training",
            where=str(folder),
            todo="try --set train.precision=fp32; if it is the same there, its weights are "
            "damaged: fetch or copy the model again",
        )
    apart = (one - other).abs().amax(dim=-1)
    leak, own = float(apart[:-CHANGED].max()), float(apart[-CHANGED:].max())
    if leak > LEAK * own:
        raise ConfigError(
            f"not a causal language model: a later token changes an earlier output (by {leak:.2g}; "
            f"its own output changes by {own:.2g}), so it would see the answer that it is trained on",
            where=f"model.name: {folder}",
            todo="choose a decoder-only model (config.json of an encoder names BERT or the like)",
        )


def _row(model: Any) -> list[int]:
    """Different tokens from all over the vocabulary."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    return [
        (1 + number * max(rows // (TOKENS + 1), 1)) % max(rows - 1, 1) for number in range(TOKENS)
    ]
