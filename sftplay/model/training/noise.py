"""NEFTune: noise on the input embeddings in training passes (arXiv:2310.05914).

Not through the library's `neftune_noise_alpha`: its hook stays on the model between the steps, where
gradients are proved, it takes padding and packed rows for one long row, and Unsloth adds a second
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from sftplay.errors import ConfigError
from sftplay.model.forward.loss import unwrapped


@contextmanager
def noisy_embeddings(model: Any, inputs: Mapping[str, Any], alpha: float | None) -> Iterator[None]:
    """Add noise to the embeddings in the forward pass inside; without `alpha` add none.

    Each number is drawn uniformly from ±alpha / sqrt(L · d), L being the tokens of its row and d
    the size of an embedding, as in the authors' training script.

    Args:
        inputs: the batch of that pass, padded or packed.

    Raises:
        ConfigError: the model does not use its embedding layer (78).
    """
    if alpha is None:
        yield
        return
    bare = unwrapped(model)
    base = bare.get_base_model() if hasattr(bare, "get_base_model") else bare
    lengths = _row_lengths(inputs)
    used = False

    def add(_module: Any, _args: Any, embeddings: torch.Tensor) -> torch.Tensor:
        nonlocal used
        used = True
        limit = alpha / torch.sqrt(lengths.to(embeddings.device) * embeddings.shape[-1])
        noise = torch.empty_like(embeddings, dtype=torch.float32).uniform_(-1, 1)
        return embeddings + (noise * limit).to(embeddings.dtype)

    handle = base.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
    if not used:
        raise ConfigError(
            "this model does not call its embedding layer: there is nowhere to add noise",
            where="train.neftune_noise_alpha",
            todo="leave train.neftune_noise_alpha out",
        )


def _row_lengths(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Return the tokens of the row that each position belongs to: (rows, 1, 1), or for rows end to
    end (1, tokens, 1).
    """
    if "row_lengths" not in inputs:
        lengths: torch.Tensor = inputs["attention_mask"].sum(1).clamp(min=1)
        return lengths.float().view(-1, 1, 1)
    rows = torch.tensor(inputs["row_lengths"])
    return rows.repeat_interleave(rows).float().view(1, -1, 1)
