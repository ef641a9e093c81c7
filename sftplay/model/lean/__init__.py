"""The same arithmetic in less time: for training with fewer passes over memory and fewer roundings,
for answers see `few_rows`.

Half of a plain training step on a CPU is not matrix products but the small operations around them,
each of which reads and writes whole activations. Here some of them are done in one go, with their
derivative written by hand. Every replacement is tried on random numbers next to what it replaces,
and used only where both agree: an architecture that computes something else keeps its own code.
"""

from __future__ import annotations

from typing import Any

import torch

from sftplay.decision import Decision
from sftplay.model.lean import attention, lowrank, norm, rotary


def slim(model: Any, precision: str) -> Decision[list[str]]:
    """Replace what can be replaced, in place; return the names of what was, and why the rest was
    not.

    Each change is an instance's `forward`, its weights' place in memory, or a function in the
    model's own module or in transformers' registry: nothing that is saved changes.

    Args:
        precision: what a training pass computes in.
    """
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    devices, numbers = (
        {weight.device.type for weight in weights},
        {weight.dtype for weight in weights},
    )
    if precision == "fp16" or not numbers <= {torch.float32, torch.bfloat16}:
        return Decision([], "only in fp32 and bf16")
    if devices == {"cpu"}:
        parts = (lowrank, norm, rotary, *((attention,) if precision == "bf16" else ()))
        reason = "each was compared with what it replaces"
    elif precision == "bf16":
        parts = (lowrank,)
        reason = "compared with what it replaces; the others are for CPUs"
    else:
        return Decision([], "fp32 on a GPU: the libraries' own code")
    replaced = {part.NAME: part.replace(model) for part in parts}
    return Decision([f"{name} ({count})" for name, count in replaced.items() if count], reason)


def needs_autocast(model: Any) -> bool:
    """True if a pass in 16 bits needs autocast: not if everything that computes on a CPU does so in
    bf16 by itself.
    """
    from peft.tuners.lora import LoraLayer

    adapters = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if not all(map(lowrank.is_replaced, adapters)):
        return True
    known = {
        id(weight) for layer in adapters for weight in layer.parameters() if weight.requires_grad
    }
    others = [
        weight
        for weight in model.parameters()
        if weight.is_floating_point() and id(weight) not in known
    ]
    return any((weight.device.type, weight.dtype) != ("cpu", torch.bfloat16) for weight in others)
