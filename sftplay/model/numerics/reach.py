"""Check that the settings can change the model: a bound on how far Adam moves weights, and adapters
that can't leave zero.
"""

from __future__ import annotations

from typing import Any

import torch

from sftplay import console
from sftplay.errors import ConfigError, RefusedError
from sftplay.settings import Settings

ROUNDING = 2.0**-24  # of a weight, in fp32: a smaller change is lost
FAINT = 1e-5  # of the weights: reached at most by the last step, and hardly anybody would see it


def check_reach(model: Any, settings: Settings, steps: int) -> float:
    """Refuse a training whose every step together changes no weight beyond rounding.

    Adam moves a weight by about the learning rate in each step (arXiv:1412.6980, section 2.1). With
    an adapter, a weight of the base changes by scaling × B·A, and B starts at zero.

    Returns:
        The largest change by the last step, relative to the weights.

    Raises:
        ConfigError: it is below rounding (78).
    """
    farthest = settings.train.learning_rate * steps
    ratio = settings.train.loraplus_lr_ratio or 1.0
    sizes = [
        _relative_reach(module, farthest, ratio)
        for module in model.modules()
        if hasattr(module, "lora_A")
    ]
    if settings.train.method == "full":
        weights = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
        # Each step is added to the weight itself, so one step alone has to be above rounding.
        sizes = [settings.train.learning_rate / max(_size(p), 1e-12) for p in weights]
    reach = max((size for size in sizes if size is not None), default=1.0)
    changed = f"at a learning rate of {settings.train.learning_rate:g} over {steps} steps"
    if settings.train.method != "full":
        changed += f" (lora.alpha {settings.lora.alpha:g}, r {settings.lora.r})"
    if reach < ROUNDING:
        raise ConfigError(
            f"this training would change nothing: {changed} the weights move by less than rounding",
            where="train.learning_rate",
            todo="raise train.learning_rate (2e-4 is the default for adapters), or lora.alpha",
        )
    if reach < FAINT:
        console.warning(
            f"this training will hardly change the model: {changed} the weights move by at most {reach:.1g} of themselves;"
            " raise train.learning_rate (2e-4 is the default for adapters), or lora.alpha"
        )
    return reach


def _relative_reach(layer: Any, farthest: float, ratio: float) -> float | None:
    """Return how far B·A can move a base weight, relative to it; None where the layer holds no
    plain LoRA.

    Args:
        farthest: how far A can move; ratio: how many times as far B can.
    """
    found = []
    for name, a in layer.lora_A.items():
        weight = getattr(a, "weight", None)
        base = getattr(layer.get_base_layer(), "weight", None)
        if weight is None or base is None:
            continue
        state = getattr(base, "quant_state", None)
        # Of a 4-bit weight, the scales of its blocks tell the size; a few per cent are enough here.
        size = _size(base) if state is None else 0.05
        b = _size(layer.lora_B[name].weight) + farthest * ratio
        found.append(
            abs(layer.scaling[name])
            * weight.shape[0]
            * b
            * (_size(weight) + farthest)
            / max(size, 1e-12)
        )
    return max(found, default=None)


@torch.no_grad()
def _size(weight: torch.Tensor) -> float:
    """Return the root mean square of up to a million of its numbers."""
    some = weight.detach().reshape(-1)[: 1 << 20].float()
    return float(some.square().mean().sqrt()) if some.numel() else 0.0


def check_adapters(model: Any, init_adapter: str | None) -> None:
    """Refuse adapters with A and B all zeros: neither has a gradient, ever.

    Raises:
        RefusedError: every adapter is so (76). A few are warned about.
    """
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and module.lora_A
    ]
    dead = [
        name
        for name, module in layers
        if not any(
            bool(weights[key].weight.any())
            for weights in (module.lora_A, module.lora_B)
            for key in weights
        )
    ]
    if dead and len(dead) == len(layers):
        raise RefusedError(
            "the adapter is all zeros: A and B both, so no gradient can ever move it",
            where=init_adapter or "",
            todo="start without --init-adapter, or from an adapter that was trained",
        )
    if dead:
        console.warning(
            f"{len(dead)} of {len(layers)} adapters are all zeros and can't learn, the first is {dead[0]}"
        )
