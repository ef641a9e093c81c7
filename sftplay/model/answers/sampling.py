"""Choice of the next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch


@dataclass(frozen=True)
class Sampling:
    """Choice of the next token.

    Attributes:
        max_new_tokens: longest answer in tokens, its end included.
        temperature: 0 takes the likeliest token every time.
        top_p: smallest set of tokens with this share of the probability (nucleus sampling,
            arXiv:1904.09751).
        top_k: so many likeliest tokens only (arXiv:1805.04833); 0: all.
        min_p: only tokens at least this share as likely as the likeliest one (arXiv:2407.01082).
        repetition_penalty: divides positive scores of tokens that prompt or answer have already,
            and multiplies negative ones (arXiv:1909.05858); 1: off.
        stop: texts that end an answer; they are no part of it.
        seed: of the random stream; each prompt has a stream of its own, whatever it shares a batch
            with.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that answers depend on: `max_new_tokens`, and of the rest those with an effect.

        Without the settings that are at their defaults: they may be younger than a record.
        """
        values = {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        if self.temperature == 0:
            return {key: value for key, value in values.items() if key not in _RANDOM}
        return {**values, "temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}

    @property
    def unused(self) -> list[str]:
        """Settings that were changed and have no effect: greedy answers draw nothing."""
        if self.temperature:
            return []
        defaults = {field.name: field.default for field in fields(self)}
        return [name for name in _NARROWING if getattr(self, name) != defaults[name]]


_NARROWING = ("top_p", "top_k", "min_p")
_RANDOM = {*_NARROWING, "seed", "temperature"}


def stream_of(sampling: Sampling, key: int) -> torch.Generator | None:
    """The random stream of one prompt; None where nothing is left to chance."""
    if sampling.temperature == 0:
        return None
    return torch.Generator().manual_seed((sampling.seed * 1_000_003 + key) % 2**63)


def choose(
    logits: torch.Tensor,
    sampling: Sampling,
    generators: Sequence[torch.Generator | None],
    seen: Sequence[Sequence[int]] = (),
) -> list[int]:
    """Next token of each row; logits (rows, vocabulary).

    The order is that of transformers' generate: penalty, temperature, top_k, top_p, min_p.

    Args:
        seen: each row's tokens so far, prompt included; needed for the repetition penalty.
    """
    if sampling.repetition_penalty != 1:
        logits = _penalized(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        chosen: list[int] = logits.argmax(dim=-1).tolist()
        return chosen
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1).cpu()
    if 0 < sampling.top_k < probabilities.shape[-1]:
        least = probabilities.topk(sampling.top_k, dim=-1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < least, 0)
    if sampling.top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True)
        ordered = ordered / ordered.sum(dim=-1, keepdim=True)
        ordered[ordered.cumsum(dim=-1) - ordered >= sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
    if sampling.min_p > 0:
        least = sampling.min_p * probabilities.amax(dim=-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0)
    return [
        int(torch.multinomial(row, 1, generator=generator))
        for row, generator in zip(probabilities, generators, strict=True)
    ]


def _penalized(logits: torch.Tensor, seen: Sequence[Sequence[int]], penalty: float) -> torch.Tensor:
    """Lower the scores of tokens that a row has already, each once."""
    size = logits.shape[-1]  # an embedding may have more rows than the output layer
    distinct = [sorted(token for token in {*tokens} if token < size) for tokens in seen]
    rows = [row for row, tokens in enumerate(distinct) for _ in tokens]
    place = torch.tensor(
        [rows, [token for tokens in distinct for token in tokens]],
        dtype=torch.long,
        device=logits.device,
    )
    scores = logits[place[0], place[1]]
    logits = logits.clone()
    logits[place[0], place[1]] = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits
