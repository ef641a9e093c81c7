"""The proof of a GGUF file: the same logits, the same tokens and the same prompts as the model that
it was made from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sftplay.errors import RefusedError
from sftplay.files import human_size


@dataclass(frozen=True)
class Floor:
    """The least that a file must reach.

    Attributes:
        near_top1: share of positions at which the token that the file puts first is at least half
            as likely as the first one of the original; kl: mean KL divergence of the next token's
            distribution, in nats.
    """

    near_top1: float
    kl: float


# A random or wrongly converted model agrees at next to no position and has a KL of several nats.
# The 135M default model reaches 1.0 / 5e-6, 0.97 / 0.004 and 0.82 / 0.19; larger models lose less.
FLOORS: Mapping[str, Floor] = {
    "f16": Floor(0.99, 1e-3),
    "q8_0": Floor(0.9, 0.05),
    "q4_k_m": Floor(0.6, 0.75),
}
# Below it a file is still the run's model, but answers differ noticeably. What the default model
# loses in the finer format, and bytes of a weight in it.
WEAK = Floor(0.9, 0.1)
_FINER = {
    "q4_k_m": ("q8_0", "98.7%, mean KL 0.003", 34 / 32),
    "q8_0": ("f16", "100.0%, mean KL 5e-06", 2.0),
}
_TIE = 1e-3  # two logits this near each other are a tie, and either may come first
_HALF = math.log(2)  # a logit this much lower is half as likely


@dataclass(frozen=True)
class GgufDifference:
    """Two models' next tokens at the same positions.

    Attributes:
        top1_agreement: share of positions at which both put the same token first;
            near_top1_agreement: as in `Floor`, where another one is as good.
        max_logit_difference: the largest over positions and vocabulary; of log probabilities where
            llama.cpp itself was asked, which tells no others.
        mean_kl: mean KL divergence from the original to the file, in nats.
    """

    positions: int
    max_logit_difference: float
    top1_agreement: float
    near_top1_agreement: float
    mean_kl: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def words(self) -> str:
        """The result in a line."""
        return (
            f"likeliest token the same at {self.top1_agreement:.1%} of {self.positions} positions, "
            f"mean KL {self.mean_kl:.2g}, a logit moved by {self.max_logit_difference:.2g} at most"
        )


def compare(reference: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> GgufDifference:
    """Compare logits, or log probabilities: (positions, vocabulary) for each prompt.

    Raises:
        RefusedError: the vocabularies differ in size, or a number is not finite (76).
    """
    positions, agreed, near, largest, divergence = 0, 0, 0, 0.0, 0.0
    for ours, theirs in zip(reference, other, strict=True):
        if ours.shape != theirs.shape:
            raise RefusedError(
                f"the file's vocabulary has {theirs.shape[-1]:,} tokens, the model's {ours.shape[-1]:,}",
                todo="nothing was written; please report this",
            )
        if not (torch.isfinite(ours).all() and torch.isfinite(theirs).all()):
            raise RefusedError(
                "the file's output is not finite",
                todo="nothing was written; its numbers do not fit into 16 bits: another --quant may do",
            )
        largest = max(largest, float((ours - theirs).abs().max()))
        first, second = ours.argmax(dim=-1), theirs.argmax(dim=-1)
        gap = ours.gather(1, first[:, None]) - ours.gather(1, second[:, None])
        agreed += int(((first == second) | (gap[:, 0] <= _TIE)).sum())
        near += int((gap[:, 0] <= _HALF).sum())
        right, found = ours.log_softmax(-1), theirs.log_softmax(-1)
        divergence += float((right.exp() * (right - found)).sum(-1).sum())
        positions += len(first)
    kl = max(0.0, divergence / positions)
    return GgufDifference(positions, largest, agreed / positions, near / positions, kl)


def judge(difference: GgufDifference, quant: str, who: str) -> None:
    """Refuse a file that is another model.

    Args:
        who: what read the file: `transformers` or `llama.cpp`.

    Raises:
        RefusedError: below the floor (76).
    """
    floor = FLOORS[quant]
    if difference.near_top1_agreement < floor.near_top1 or difference.mean_kl > floor.kl:
        other = "" if quant == "f16" else "; a finer one may do: --quant f16, or q8_0"
        raise RefusedError(
            f"the {quant} file as {who} reads it is not the run's model: {difference.words}; "
            f"required: that token, or one at least half as likely, at {floor.near_top1:.0%} "
            f"(here {difference.near_top1_agreement:.1%}), and KL {floor.kl:g} at most",
            todo=f"nothing was written{other}",
        )


def advise(
    difference: GgufDifference, quant: str, run: str, *, size: int, weights: int
) -> str | None:
    """Return a line about a file that lost much, and the format that keeps more; None where it did
    not.

    Args:
        size: of the file in bytes. weights: how many the model has.
    """
    weak = difference.top1_agreement < WEAK.near_top1 or difference.mean_kl > WEAK.kl
    if not weak or quant not in _FINER:
        return None
    finer, default, each = _FINER[quant]
    return (
        f"{quant} loses much of this model: likeliest token the same at "
        f"{difference.top1_agreement:.1%}, mean KL {difference.mean_kl:.2g} ({human_size(size)}). Small "
        f"models lose most: inv export --run {run} --quant {finer} keeps more (about "
        f"{human_size(int(weights * each))}; the default model: {default})"
    )


def require_same_tokens(
    texts: Sequence[str], ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]
) -> None:
    """Refuse a file whose tokenizer is not the run's: the converter recognizes tokenizers by
    examples, and may take one for another.

    Raises:
        RefusedError: a text has other tokens (76).
    """
    for text, right, found in zip(texts, ours, theirs, strict=True):
        if list(right) != list(found):
            at = next(
                (n for n, (a, b) in enumerate(zip(right, found, strict=False)) if a != b),
                min(len(right), len(found)),
            )
            raise RefusedError(
                f"llama.cpp cuts a text into other tokens than the run's tokenizer: {len(found)} instead of "
                f"{len(right)}, different from number {at + 1} on, in {text[:60]!r}",
                todo="nothing was written; the converter took this tokenizer for another one",
            )
