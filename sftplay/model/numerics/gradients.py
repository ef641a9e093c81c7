"""One batch, two ways: the gradient as training computes it, and that of the plain pass.

What differs is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

Loss = Callable[[], tuple[torch.Tensor, int]]  # summed loss, trained tokens

# Relative differences that rounding explains, by the precision that training computes in. Random
# models of 14 families showed at most 2e-6 in fp32 and 0.031 in bf16 for the gradient (0.13 with
# routed experts), SmolLM2-135M with its 30 layers 0.08 in bf16; a gradient that stops at 4-bit
# layers differs by 0.8 to 1. In 16 bits the loss may differ by a few per cent where the plain
# pass rounds more often: PEFT rounds the base's output before it adds the adapter's (2 % on
# SmolLM2-135M after two steps). `small` is a share of the largest gradient of a parameter: below it,
# rounding may be all there is. After two steps of LoRA in bf16 on SmolLM2-135M (60 rows of one
# short sentence), parameters with 0.3 to 1 % of the largest gradient differed by up to 0.5, those
# with 0.1 to 0.3 % by up to 0.9, and in fp32 by less than 0.001.
TOLERANCES: Mapping[str, Mapping[str, float]] = {
    "fp32": {"loss": 1e-3, "gradient": 1e-2, "parameter": 0.1, "small": 1e-3},
    "bf16": {"loss": 0.1, "gradient": 0.3, "parameter": 0.6, "small": 1e-2},
    "fp16": {"loss": 0.05, "gradient": 0.2, "parameter": 0.6, "small": 1e-2},
}
UNREACHED = 1e-6  # share of the largest below which a gradient of zero is no fault
# times the tolerance in 16 bits where a router picks experts: rounding sends a token to another one
ROUTED = 2.0


@dataclass(frozen=True)
class Comparison:
    """Training's pass against the plain one, over one batch.

    Attributes:
        oracle: what training's pass was compared with.
        loss, plain_loss: nats per trained token.
        norm, plain_norm: of the whole gradient.
        difference: norm of the difference of the two gradients, relative to the plain norm.
        parameters: how many were compared; unreached: those that the plain pass reaches as little
            as training's.
        problems: sentences about what is wrong; empty where training is right.
    """

    loss: float
    plain_loss: float
    norm: float
    plain_norm: float
    difference: float
    parameters: int
    oracle: str = "plain pass"
    unreached: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values, rounded to what they mean."""
        short = {
            key: float(f"{value:.6g}")
            for key, value in asdict(self).items()
            if isinstance(value, float)
        }
        return {**asdict(self), **short, "unreached": self.unreached[:20]}


def compare(
    named: Iterable[tuple[str, Any]],
    training: Loss,
    reference: Loss,
    limits: Mapping[str, float],
    scale: float = 1.0,
) -> Comparison:
    """Run both passes and compare them. Gradients that the parameters hold are dropped.

    Args:
        named: the trained parameters with their names.
        training, reference: each runs a forward pass over the same batch.
        limits: a row of TOLERANCES.
        scale: of the loss before the backward pass, for fp16.

    Returns:
        Never more than one set of gradients is in memory: the reference's are added to training's
        negated ones.
    """
    parameters = dict(named)
    loss, norms = backward(parameters, training, scale)
    for parameter in parameters.values():
        if parameter.grad is not None:
            parameter.grad.neg_()
    plain_loss, plain_norms = backward(parameters, reference, scale)
    rest = {name: norm_of(parameter.grad) / scale for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = None
    return judge(loss, plain_loss, norms, plain_norms, rest, limits)


def backward(
    parameters: Mapping[str, Any], passes: Loss, scale: float
) -> tuple[float, dict[str, float]]:
    """Add the scaled gradient of the mean loss to what is there; return the loss and the norms of
    the new gradients.
    """
    with _watched(parameters) as norms:
        total, count = passes()
        (total * (scale / max(count, 1))).backward()
    return float(total.detach()) / max(count, 1), {
        name: norms.get(name, 0.0) / scale for name in parameters
    }


@contextmanager
def _watched(parameters: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """Yield the norms of the gradients that a backward pass inside adds, by name."""
    norms: dict[str, float] = {}

    def note(name: str, gradient: torch.Tensor) -> None:
        norms[name] = math.hypot(norms.get(name, 0.0), norm_of(gradient))

    handles = [
        parameter.register_hook(lambda gradient, name=name: note(name, gradient))
        for name, parameter in parameters.items()
    ]
    try:
        yield norms
    finally:
        for handle in handles:
            handle.remove()


def norm_of(gradient: torch.Tensor | None) -> float:
    """Return the norm in fp32; 0 for no gradient."""
    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient.float()))


def judge(
    loss: float,
    plain_loss: float,
    norms: Mapping[str, float],
    plain_norms: Mapping[str, float],
    rest: Mapping[str, float],
    limits: Mapping[str, float],
) -> Comparison:
    """Pure: what is wrong, from losses and norms.

    Args:
        norms, plain_norms: of each parameter's gradient; rest: of the difference of the two.
    """
    norm, plain_norm = _whole(norms), _whole(plain_norms)
    difference = _whole(rest) / plain_norm if plain_norm else math.inf if norm else 0.0
    problems = [
        f"{name}: gradient not finite" for name, value in norms.items() if not math.isfinite(value)
    ]
    largest = max(plain_norms.values(), default=0.0)
    for name, expected in plain_norms.items():
        if norms[name] == 0 and expected > UNREACHED * largest:
            problems.append(f"{name}: no gradient reaches it (expected a norm of {expected:.3g})")
        elif (
            expected > limits["small"] * largest
            and not rest[name] <= limits["parameter"] * expected
        ):
            problems.append(f"{name}: gradient norm {norms[name]:.3g}, expected {expected:.3g}")
    if not difference <= limits["gradient"]:
        problems.append(
            f"the whole gradient: norm {norm:.4g}, expected {plain_norm:.4g}; they differ by {difference:.2g} of it"
            f" (allowed {limits['gradient']:g})"
        )
    if not abs(loss - plain_loss) <= limits["loss"] * max(abs(plain_loss), 0.1):
        problems.append(f"the loss: {loss:.5g}, expected {plain_loss:.5g}")
    unreached = [name for name, value in norms.items() if value == 0 and plain_norms[name] == 0]
    return Comparison(
        loss,
        plain_loss,
        norm,
        plain_norm,
        difference,
        len(norms),
        unreached=unreached,
        problems=problems,
    )


def _whole(norms: Mapping[str, float]) -> float:
    return math.sqrt(sum(value * value for value in norms.values()))
