"""Before the first step, and after the second: does training's gradient agree with the plain pass?
Else nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from sftplay import console
from sftplay.model.forward.collate import IGNORED, Collate, on_device
from sftplay.model.forward.loss import target_loss
from sftplay.model.numerics.gradients import ROUTED, TOLERANCES, Comparison, compare
from sftplay.model.numerics.plain import no_dropout, plain, plain_loss
from sftplay.model.numerics.slope import LIMITS, compare_slope
from sftplay.model.runtime.precision import autocast

TOKENS = 48  # of each row: a fraction of a training step, and still several blocks of every kernel
# of the second row: another length, so that padding, or rows end to end, are part of the proof
_SECOND = 32
_SEED = 7
# of the loss: far from both ends of fp16 for gradients of a mean over a few rows
_FP16_SCALE = 1024.0
_CANNOT = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError)


def sample_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the beginnings of two rows, their second halves trained.

    Args:
        rows: tokenized rows; of a single one, two beginnings are taken.
    """
    found = [
        rows[number] for number in range(min(len(rows), 64)) if len(rows[number]["input_ids"]) > 1
    ][:2]
    return [
        _beginning(row, length)
        for row, length in zip((found * 2)[:2], (TOKENS, _SECOND), strict=False)
    ]


def _beginning(row: Mapping[str, Any], length: int) -> dict[str, Any]:
    ids = list(row["input_ids"][:length])
    half = max(len(ids) // 2, 1)
    return {"input_ids": ids, "labels": [IGNORED] * half + ids[half:]}


def prove(
    model: Any,
    rows: list[dict[str, Any]],
    *,
    collate: Collate,
    device: str,
    precision: str,
    plain_head: bool,
    has_plain_pass: bool = True,
    refresh: Callable[[], None] = lambda: None,
    adapter_off_zero: bool = True,
) -> Comparison:
    """Compare training's pass with the plain one. Weights, gradients, modes and random state are
    left as they were.

    An evaluation's pass runs first: some libraries switch to kernels without a derivative in it,
    and stay there.

    Args:
        model: as training computes with it, checkpointing included.
        rows: from `sample_rows`.
        collate: training's own.
        plain_head: what `has_plain_head` returned.
        has_plain_pass: False where a library has replaced the models of the whole process.
        refresh: called after weights were changed in place.
        adapter_off_zero: give adapters that are still all zeros random values meanwhile; else A
            would have no gradient.
    """
    named = [
        (name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]
    batch = on_device(collate([dict(row) for row in rows]), model.device)
    devices = [model.device] if model.device.type == "cuda" else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(autocast(device, precision, model))
        stack.enter_context(_gradients_aside(named))
        if adapter_off_zero:
            stack.enter_context(_random_where_zero(named, refresh))
        was_training = model.training
        stack.callback(model.train, was_training)
        model.eval()
        with torch.no_grad():
            target_loss(model, batch, plain_head=plain_head)
        model.train()
        stack.enter_context(no_dropout(model))
        scale = _FP16_SCALE if precision == "fp16" else 1.0

        def training() -> tuple[torch.Tensor, int]:
            return target_loss(model, batch, plain_head=plain_head)

        try:
            if has_plain_pass:
                return compare(
                    named,
                    training,
                    lambda: _reference(model, rows),
                    limits_for(model, precision),
                    scale,
                )
        except _CANNOT as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            console.log(
                f"no plain pass of this model ({type(error).__name__}: {error}): the slope of the loss is measured"
            )
            _drop_gradients(named)
        return compare_slope(named, training, LIMITS[precision], scale, refresh)


def limits_for(model: Any, precision: str) -> Mapping[str, float]:
    """Return the tolerances for a precision, wider in 16 bits for a model that routes tokens to
    experts.
    """
    limits = TOLERANCES[precision]
    routes = any(key.startswith("num_") and "expert" in key for key in model.config.to_dict())
    return (
        {key: value * ROUTED for key, value in limits.items()}
        if routes and precision != "fp32"
        else limits
    )


def _reference(model: Any, rows: list[dict[str, Any]]) -> tuple[torch.Tensor, int]:
    with plain(model):
        return plain_loss(model, rows)


def _drop_gradients(named: Sequence[tuple[str, Any]]) -> None:
    for _, parameter in named:
        parameter.grad = None


@contextmanager
def _gradients_aside(named: Sequence[tuple[str, Any]]) -> Iterator[None]:
    """Keep the gradients that are there, if any, out of the way."""
    kept = [parameter.grad for _, parameter in named]
    _drop_gradients(named)
    try:
        yield
    finally:
        for (_, parameter), gradient in zip(named, kept, strict=True):
            parameter.grad = gradient


@contextmanager
def _random_where_zero(
    named: Sequence[tuple[str, Any]], refresh: Callable[[], None]
) -> Iterator[None]:
    """Fill the B matrices that are all zeros, as LoRA starts, with small random numbers; put the
    zeros back.
    """
    zeros = [
        parameter for name, parameter in named if ".lora_B." in name and not bool(parameter.any())
    ]
    generator = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for parameter in zeros:
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    refresh()
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter in zeros:
                parameter.zero_()
        refresh()
