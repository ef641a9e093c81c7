"""Choice of the next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sampling:
    """Choice of the next token.

    Attributes:
        max_new_tokens: longest answer in tokens, its end included.
        temperature: 0 takes the likeliest token every time.
        top_p: smallest set of tokens with this share of the probability (nucleus sampling,
            arXiv:1904.09751).
        seed: of the random stream; each prompt has a stream of its own, whatever it shares a batch
            with.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def stream_of(sampling: Sampling, key: int) -> torch.Generator | None:
    """The random stream of one prompt; None where nothing is left to chance."""
    if sampling.temperature == 0:
        return None
    return torch.Generator().manual_seed((sampling.seed * 1_000_003 + key) % 2**63)


def choose(
    logits: torch.Tensor, sampling: Sampling, generators: Sequence[torch.Generator | None]
) -> list[int]:
    """Next token of each row; logits (rows, vocabulary)."""
    if sampling.temperature == 0:
        chosen: list[int] = logits.argmax(dim=-1).tolist()
        return chosen
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1).cpu()
    if sampling.top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True)
        ordered[ordered.cumsum(dim=-1) - ordered >= sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
    return [
        int(torch.multinomial(row, 1, generator=generator))
        for row, generator in zip(probabilities, generators, strict=True)
    ]
