"""The proof of a merge: the same logits with the adapter next to the base and with both in one, on
fixed prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sftplay.errors import RefusedError

# Fixed, so that two merges can be compared: everyday questions, code, arithmetic, other scripts, a
# text that continues for a while.
PROMPTS = (
    "What is the capital of France?",
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did she sell?",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Wie spät ist es, und wer fragt? Grüße aus München!",
    "请用一句话介绍你自己。",
    "Summarize: the quick brown fox jumps over the lazy dog, again and again, until the dog wakes up, looks around, and goes home.",
)
LIMIT = 1e-2  # largest difference of a logit that fp32 arithmetic may leave
_TIE = 1e-3  # two logits this near each other are a tie, and either may come first
_EFFECT = 1e-6  # a merged model that is not further than this from its base has learned nothing


@dataclass(frozen=True)
class LogitDifference:
    """Two models on the same positions.

    Attributes:
        positions: how many were compared.
        max_logit_difference: the largest over all positions and the whole vocabulary.
        top1_agreement: share of positions where both put the same token first; ties count as
        agreement.
        ties: positions where both put another token first, and the two lie within 0.001 of each
            other.
    """

    positions: int
    max_logit_difference: float
    top1_agreement: float
    ties: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@torch.inference_mode()
def logits_of(model: Any, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Logits at every position of each prompt: (positions, vocabulary), fp32, on the CPU."""
    found = []
    for ids in prompts:
        given = torch.tensor([list(ids)], dtype=torch.long, device=model.device)
        found.append(model(input_ids=given, use_cache=False).logits[0].float().cpu())
    return found


def differ(reference: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> LogitDifference:
    """Compare two models' logits.

    Raises:
        RefusedError: one of them is not finite (76).
    """
    positions, agreed, ties, largest = 0, 0, 0, 0.0
    for ours, theirs in zip(reference, other, strict=True):
        if not (torch.isfinite(ours).all() and torch.isfinite(theirs).all()):
            raise RefusedError(
                "the model's output is not finite",
                todo="the weights are damaged, or --dtype is too narrow for them: try bf16",
            )
        largest = max(largest, float((ours - theirs).abs().max()))
        first, second = ours.argmax(dim=-1), theirs.argmax(dim=-1)
        gap = ours.gather(1, first[:, None]) - ours.gather(1, second[:, None])
        tied = (first != second) & (gap[:, 0] <= _TIE)
        positions += len(first)
        agreed += int(((first == second) | tied).sum())
        ties += int(tied.sum())
    return LogitDifference(positions, largest, agreed / positions, ties)


def digests(model: Any) -> dict[str, str]:
    """A hash of each weight's values, whatever their number format."""
    return {
        name: hashlib.blake2b(tensor.detach().float().cpu().numpy().tobytes()).hexdigest()
        for name, tensor in model.state_dict().items()
    }


def require_same(merged: Mapping[str, str], saved: Mapping[str, str]) -> None:
    """Refuse a folder that gives other weights than those that were merged.

    Raises:
        RefusedError: one differs or is missing (76).
    """
    other = sorted(name for name in {*merged, *saved} if merged.get(name) != saved.get(name))
    if other:
        raise RefusedError(
            f"plain transformers loads other weights from the merged folder than were merged:"
            f" {len(other)} of {len(merged)} differ, the first is {other[0]}",
            todo="nothing was written; use the adapter as it is (infer does), and please report this",
        )


def judge(arithmetic: LogitDifference | None, effect: LogitDifference) -> None:
    """Refuse a merge that is not what it claims to be.

    Args:
        arithmetic: base with adapter against merged, both in fp32; None where there was no adapter
            to merge.
        effect: base against merged.

    Raises:
        RefusedError: the merge changed the model, or training did not (76).
    """
    if arithmetic and (arithmetic.max_logit_difference >= LIMIT or arithmetic.top1_agreement < 1):
        raise RefusedError(
            f"drift: merged and unmerged model differ by up to {arithmetic.max_logit_difference:.3g} in a logit (allowed "
            f"{LIMIT:g}) and agree on {arithmetic.top1_agreement:.1%} of the likeliest tokens (wanted 100 %)",
            todo="nothing was written; use the adapter as it is (infer does), and please report this",
        )
    noise = arithmetic.max_logit_difference if arithmetic else 0.0
    if effect.max_logit_difference <= max(noise, _EFFECT):
        raise RefusedError(
            f"no effect: the merged model is its base (largest difference of a logit: {effect.max_logit_difference:.3g})",
            todo="the training changed nothing: look at the loss in run.json; more steps or a higher train.learning_rate",
        )
