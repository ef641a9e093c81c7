"""A linear layer with its low-rank adapter (LoRA, arXiv:2106.09685): x Wᵀ + s (x Aᵀ) Bᵀ, added up
inside the matrix products.

In bf16 it is one product, [x | x Aᵀ] · [W | s B]ᵀ, whose sums are rounded once. PEFT rounds x Wᵀ
first: 8 bits of mantissa then lose most of what a young adapter adds, and in 20 steps the loss
falls behind that of fp32 by about 2 %. This holds on every device. The bf16 numbers of A and B are
written in each pass: a copy that is kept until weights change goes stale, because the fused
optimizers don't count their changes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

NAME = "low-rank adapters"
_NUMBERS = (torch.float32, torch.bfloat16)


class _LowRank(torch.autograd.Function):
    """For a frozen W, dense or in NF4; no gradient for W, none for x where nobody asks for it.

    Args:
        x: what W multiplies; dropped: what A multiplies, None where that is x.
        wide: room for [W | s B] that holds W; None where W is unpacked each time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        dropped: Any,
        base: Any,
        wide: Any,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        narrowed = rows if dropped is None else dropped.reshape(rows.shape)
        a, b = a.to(x.dtype), (b * scale).to(x.dtype)
        low = narrowed @ a.t()
        out = _product(rows, low, base, wide, b)
        ctx.save_for_backward(rows, narrowed, low, a, b)
        ctx.base, ctx.scale, ctx.shape = base, scale, x.shape
        # no view: models that add to it in place (Falcon) could not be differentiated
        whole: torch.Tensor = torch.ops.aten._unsafe_view(out, [*x.shape[:-1], out.shape[-1]])
        return whole

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, narrowed, low, a, b = ctx.saved_tensors
        grad = grads[0].reshape(rows.shape[0], -1)
        narrow = grad @ b
        grad_x = grad_dropped = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ _dense(ctx.base, rows.dtype)
        if ctx.needs_input_grad[1]:
            grad_dropped = (narrow @ a).view(ctx.shape)
        elif grad_x is not None:
            grad_x.addmm_(narrow, a)
        grad_a, grad_b = (narrow.t() @ narrowed).float(), (grad.t() @ low).float().mul_(ctx.scale)
        return (
            None if grad_x is None else grad_x.view(ctx.shape),
            grad_dropped,
            None,
            None,
            grad_a,
            grad_b,
            None,
        )


def _product(
    rows: torch.Tensor, low: torch.Tensor, base: Any, wide: Any, b: torch.Tensor
) -> torch.Tensor:
    """Return rows Wᵀ + low bᵀ + bias, each sum rounded once."""
    if rows.dtype == torch.float32:
        return linear(rows, _dense(base, rows.dtype), base.bias).addmm_(low, b.t())
    if wide is None:
        wide = torch.cat([_dense(base, rows.dtype), b], dim=1)
    else:
        wide[:, rows.shape[1] :] = b
    return linear(torch.cat([rows, low], dim=1), wide, base.bias)


def _dense(base: Any, number: torch.dtype) -> torch.Tensor:
    """Return the weights of a layer, (out, in); NF4 ones are unpacked, and forgotten after use."""
    state = getattr(base.weight, "quant_state", None)
    if state is None:
        weight: torch.Tensor = base.weight
        return weight
    from bitsandbytes.functional import dequantize_4bit

    dense: torch.Tensor = dequantize_4bit(base.weight.data, state).to(number)
    return dense


def replace(model: Any) -> int:
    """Let every plain LoRA layer compute in one go; return their number."""
    plain = [module for module in model.modules() if _is_plain(module)]
    kinds = {(type(layer), type(layer.get_base_layer())): layer for layer in plain}
    good = {kind for kind, layer in kinds.items() if _agrees(layer)}
    layers = [layer for layer in plain if (type(layer), type(layer.get_base_layer())) in good]
    for layer in layers:
        _keep_scales(layer.get_base_layer())
        layer.forward = partial(_forward, layer, layer.forward, _widened(layer))
    return len(layers)


def is_replaced(layer: Any) -> bool:
    """True if a LoRA layer computes in one step."""
    forward = layer.__dict__.get("forward")
    return isinstance(forward, partial) and forward.func is _forward


def _widened(layer: Any) -> torch.Tensor | None:
    """Move dense bf16 weights into a tensor that has room for B behind them, and return it."""
    base, (name,) = layer.get_base_layer(), layer.active_adapters
    if base.weight.dtype != torch.bfloat16:
        return None
    width = base.in_features + layer.r[name]
    wide: torch.Tensor = base.weight.new_empty(base.out_features, width)
    wide[:, : base.in_features] = base.weight.data
    base.weight.data = wide[:, : base.in_features]
    return wide


def _keep_scales(base: Any) -> None:
    """Double quantization stores the scales of NF4 blocks in 8 bits: unpack them once (4 bytes for
    64 weights), not each time.
    """
    state = getattr(base.weight, "quant_state", None)
    if state is None or not state.nested:
        return
    from bitsandbytes.functional import dequantize_blockwise

    state.absmax = (dequantize_blockwise(state.absmax, state.state2) + state.offset).to(
        torch.float32
    )
    state.nested, state.state2, state.offset = False, None, None


def _is_plain(module: Any) -> bool:
    """One adapter, nothing but A, B and dropout: no DoRA, no bias of its own, numbers that are
    known here.
    """
    from peft.tuners.lora import LoraLayer

    if not isinstance(module, LoraLayer) or len(module.active_adapters) != 1:
        return False
    (name,) = module.active_adapters
    base = module.get_base_layer()
    return (
        name in module.lora_A
        and isinstance(base, torch.nn.Linear)
        and not base.weight.requires_grad
        and _number(base) in _NUMBERS
        and not getattr(module, "lora_variant", {}).get(name)
        and isinstance(module.lora_dropout[name], (torch.nn.Identity, torch.nn.Dropout))
        and module.lora_A[name].bias is None
        and module.lora_B[name].bias is None
    )


def _number(base: Any) -> torch.dtype:
    """Return the number format that a layer computes in."""
    number: torch.dtype = (
        base.weight.dtype
        if getattr(base.weight, "quant_state", None) is None
        else base.compute_dtype
    )
    return number


def _forward(
    layer: Any, plain: Any, wide: torch.Tensor | None, x: torch.Tensor, *args: Any, **kwargs: Any
) -> Any:
    base = layer.get_base_layer()
    if layer.disable_adapters or layer.merged or args or kwargs or x.dtype != _number(base):
        return plain(x, *args, **kwargs)
    (name,) = layer.active_adapters
    dropout = layer.lora_dropout[name]
    dropped = (
        dropout(x)
        if isinstance(dropout, torch.nn.Dropout) and dropout.training and dropout.p
        else None
    )
    low_rank: Any = _LowRank.apply
    return low_rank(
        x,
        dropped,
        base,
        wide,
        layer.lora_A[name].weight,
        layer.lora_B[name].weight,
        layer.scaling[name],
    )


@torch.no_grad()
def _agrees(layer: Any) -> bool:
    """True if random numbers come out as from PEFT's own code, with a B that is not zero."""
    base, (name,) = layer.get_base_layer(), layer.active_adapters
    random, b = torch.Generator().manual_seed(0), layer.lora_B[name].weight
    x = torch.randn(4, base.in_features, generator=random).to(base.weight.device, _number(base))
    saved, dropout = b.clone(), layer.lora_dropout[name]
    was_training = dropout.training
    b.copy_(torch.randn(b.shape, generator=random).mul_(base.in_features**-0.5))
    dropout.eval()  # and nothing else: 4-bit layers may repack their weights in evaluation mode
    try:
        ours, theirs = (_forward(layer, layer.forward, None, x), layer.forward(x))
    finally:
        b.copy_(saved)
        dropout.train(was_training)
    limit = 1e-4 if x.dtype == torch.float32 else 0.02
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm()) < limit
