"""A linear layer with its low-rank adapter (LoRA, arXiv:2106.09685): x Wᵀ + s (x Aᵀ) Bᵀ, added up inside the matrix products."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

NAME = "low-rank adapters"


class _LowRank(torch.autograd.Function):
    """For a frozen W, dense or in NF4; no gradient for W, none for x where nobody asks for it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, base: Any, a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ a.t()
        out = linear(rows, _dense(base), base.bias)
        out.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(rows, low, a, b)
        ctx.base, ctx.scale, ctx.shape = base, scale, x.shape
        shaped: torch.Tensor = out.view(*x.shape[:-1], -1)
        return shaped

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, low, a, b = ctx.saved_tensors
        grad = grads[0].reshape(rows.shape[0], -1)
        narrow = (grad @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ _dense(ctx.base)
            grad_x.addmm_(narrow, a)
            grad_x = grad_x.view(ctx.shape)
        return grad_x, None, narrow.t() @ rows, (grad.t() @ low).mul_(ctx.scale), None


def _dense(base: Any) -> torch.Tensor:
    """The weights of a layer, (out, in), fp32; NF4 ones are unpacked, and forgotten after use."""
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        weight: torch.Tensor = base.weight
        return weight
    from bitsandbytes.functional import dequantize_4bit

    dense: torch.Tensor = dequantize_4bit(base.weight.data, state).to(torch.float32)
    return dense


def replace(model: Any) -> int:
    """Let every plain LoRA layer compute in one go; gives their number."""
    plain = [module for module in model.modules() if _is_plain(module)]
    kinds = {(type(layer), type(layer.get_base_layer())): layer for layer in plain}
    good = {kind for kind, layer in kinds.items() if _agrees(layer)}
    layers = [layer for layer in plain if (type(layer), type(layer.get_base_layer())) in good]
    for layer in layers:
        _keep_scales(layer.get_base_layer())
        layer.forward = partial(_forward, layer, layer.forward)
    return len(layers)


def _keep_scales(base: Any) -> None:
    """Double quantization stores the scales of NF4 blocks in 8 bits: unpack them once (4 bytes for 64 weights), not each time."""
    state = getattr(base.weight, "quant_state", None)
    if state is None or not state.nested:
        return
    from bitsandbytes.functional import dequantize_blockwise

    state.absmax = (dequantize_blockwise(state.absmax, state.state2) + state.offset).to(torch.float32)
    state.nested, state.state2, state.offset = False, None, None


def _is_plain(module: Any) -> bool:
    """One adapter, nothing but A and B: no DoRA, no dropout, no bias of its own."""
    from peft.tuners.lora import LoraLayer

    if not isinstance(module, LoraLayer) or len(module.active_adapters) != 1:
        return False
    (name,) = module.active_adapters
    base = module.get_base_layer()
    return (
        name in module.lora_A
        and isinstance(base, torch.nn.Linear)
        and not base.weight.requires_grad
        and not getattr(module, "lora_variant", {}).get(name)
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and module.lora_A[name].bias is None
        and module.lora_B[name].bias is None
    )


def _forward(layer: Any, plain: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    if layer.disable_adapters or layer.merged or args or kwargs or x.dtype != torch.float32:
        return plain(x, *args, **kwargs)
    (name,) = layer.active_adapters
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    low_rank: Any = _LowRank.apply
    return low_rank(x, layer.get_base_layer(), a, b, layer.scaling[name])


@torch.no_grad()
def _agrees(layer: Any) -> bool:
    base = layer.get_base_layer()
    x = torch.randn(2, base.in_features, generator=torch.Generator().manual_seed(0))
    return torch.allclose(_forward(layer, layer.forward, x), layer.forward(x), rtol=1e-3, atol=1e-4)
