"""The gradient against the slope of the loss itself: an oracle for stacks whose plain pass can't be
had.

Unsloth replaces transformers' models for the whole process. There, the loss is measured a small
step up and down a direction, and the difference is compared with what the gradient predicts. That
shows a gradient of the wrong size, and parameters that none reaches; a gradient that is right but
for a missing path may pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from sftplay.model.numerics.gradients import Comparison, Loss, backward

STEP = 0.05  # of the loss: what one step is to change, far above the rounding of 16-bit numbers
MOVE = 0.05  # of a parameter's norm: further away, the loss is no longer straight
LIMITS: Mapping[str, float] = {
    "fp32": 0.2,
    "bf16": 0.3,
    "fp16": 0.3,
}  # relative difference of predicted and measured slope
ORACLE = "slope of the loss"


def compare_slope(
    named: Iterable[tuple[str, Any]],
    training: Loss,
    limit: float,
    scale: float = 1.0,
    refresh: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compare the gradient with finite differences of the loss. Weights are put back bit for bit.

    The direction gives every parameter the same weight: its own gradient, normalized.
    """
    parameters = dict(named)
    loss, norms = backward(parameters, training, scale)
    reached = [name for name, norm in norms.items() if norm > 0 and math.isfinite(norm)]
    unreached = [name for name, norm in norms.items() if norm == 0]
    problems = [
        f"{name}: gradient not finite" for name, norm in norms.items() if not math.isfinite(norm)
    ]
    problems += [f"{name}: no gradient reaches it" for name in unreached if "expert" not in name]
    whole = math.sqrt(sum(norm * norm for norm in norms.values()))
    if not reached or problems:
        _drop(parameters)
        return Comparison(
            loss,
            loss,
            whole,
            0.0,
            math.inf,
            len(norms),
            ORACLE,
            unreached,
            problems or ["no gradient at all"],
        )
    predicted = sum(norms[name] for name in reached) / math.sqrt(len(reached))
    sizes = sorted(float(torch.linalg.vector_norm(parameters[name].detach())) for name in reached)
    step = min(
        STEP * max(abs(loss), 0.1) / predicted,
        MOVE * sizes[len(sizes) // 2] * math.sqrt(len(reached)),
    )
    with torch.no_grad():
        moves = {
            name: parameters[name].grad * (step / (norms[name] * scale * math.sqrt(len(reached))))
            for name in reached
        }
        _drop(parameters)
        kept = {name: parameters[name].detach().clone() for name in reached}
        try:
            up, down = (
                _loss_at(parameters, kept, moves, sign, training, refresh) for sign in (1.0, -1.0)
            )
        finally:
            for name, value in kept.items():
                parameters[name].copy_(value)
            refresh()
    measured = (up - down) / (2 * step)
    difference = abs(measured - predicted) / max(abs(measured), abs(predicted))
    if not difference <= limit:
        problems.append(
            f"the gradient predicts a slope of {predicted:.4g} along its own direction, the loss has {measured:.4g}"
            f" (allowed difference: {limit:.0%})"
        )
    return Comparison(
        loss,
        loss,
        whole,
        whole * measured / predicted,
        difference,
        len(norms),
        ORACLE,
        unreached,
        problems,
    )


def _drop(parameters: Mapping[str, Any]) -> None:
    for parameter in parameters.values():
        parameter.grad = None


def _loss_at(
    parameters: Mapping[str, Any],
    kept: Mapping[str, torch.Tensor],
    moves: Mapping[str, torch.Tensor],
    sign: float,
    training: Loss,
    refresh: Callable[[], None],
) -> float:
    for name, move in moves.items():
        parameters[name].copy_(kept[name]).add_(move, alpha=sign)
    refresh()
    torch.clear_autocast_cache()  # it holds 16-bit copies of the weights as they were
    total, count = training()
    return float(total) / max(count, 1)
