"""Causal attention of whole rows in bf16 on the CPU: matrix products over groups of heads, block by
block.

PyTorch's fused kernel works head by head on small tiles, at a fifth of the speed of this
processor's matrix products. Here the query heads that share keys are multiplied together, and a
block of queries only with the keys that it sees. Scores are fp32. Their probabilities are kept for
the backward pass; those of long rows, whose size grows with the square, are computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "attention"
KERNEL = "sftplay_blocks"  # in transformers' registry of attention functions
# queries: smaller blocks cost more calls, larger ones more products with keys that no query sees
BLOCK = 64
KEPT = 512  # positions of the longest rows whose probabilities are kept
_OTHER_SCORES = (
    "position_bias",
    "softcap",
    "s_aux",
    "cache",
)  # arguments that change scores or keys


class _Attention(torch.autograd.Function):
    """q (batch, heads, positions, size); k, v with fewer heads where they are shared → (batch,
    positions, heads, size).
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float
    ) -> torch.Tensor:
        k, v = k.contiguous(), v.contiguous()
        keys = _scaled(k, scale)
        out, grouped = _empty(q, k.shape[1])
        kept = []
        for block in _blocks(q.shape[2]):
            weights = _weights(q, keys, block)
            grouped[..., block, :] = _ungroup(weights @ v[:, :, : block.stop], block)
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *(kept if q.shape[2] <= KEPT else ()))
        ctx.scale = scale
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        keys = None if kept else _scaled(k, ctx.scale)
        groups, grad_out = k.shape[1], grads[0].transpose(1, 2)
        grad_q, grouped_q = _empty(q, groups)
        grad_k, grad_v = (torch.zeros(k.shape, dtype=torch.float32) for _ in range(2))
        for number, block in enumerate(_blocks(q.shape[2])):
            weights = _weights(q, keys, block) if keys is not None else kept[number]
            seen = slice(0, block.stop)
            grad = _group(grad_out, groups, block)
            grad_v[:, :, seen] += weights.transpose(2, 3) @ grad
            grad = grad @ v[:, :, seen].transpose(2, 3)
            scores = torch._softmax_backward_data(grad, weights, -1, weights.dtype).mul_(ctx.scale)
            grouped_q[..., block, :] = _ungroup(scores @ k[:, :, seen], block)
            grad_k[:, :, seen] += scores.transpose(2, 3) @ _group(q, groups, block)
        return grad_q.transpose(1, 2), grad_k.to(k.dtype), grad_v.to(v.dtype), None


def _blocks(length: int) -> Iterator[slice]:
    """Return the queries of each block; its end is that of the keys that they see."""
    return (slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


def _group(x: torch.Tensor, groups: int, block: slice) -> torch.Tensor:
    """(batch, heads, positions, size) → (batch, groups, heads of a group × positions of the block,
    size).
    """
    grouped: torch.Tensor = x.unflatten(1, (groups, -1))
    return grouped[..., block, :].flatten(2, 3)


def _ungroup(x: torch.Tensor, block: slice) -> torch.Tensor:
    """(batch, groups, heads of a group × positions of the block, …) → with heads and positions
    apart.
    """
    apart: torch.Tensor = x.unflatten(2, (-1, block.stop - block.start))
    return apart


def _empty(q: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return room for a result, (batch, positions, heads, size), and a view of it, (batch, groups,
    heads, positions, size).
    """
    batch, heads, length, size = q.shape
    out = q.new_empty(batch, length, heads, size)
    return out, out.transpose(1, 2).unflatten(1, (groups, -1))


def _scaled(k: torch.Tensor, scale: float) -> torch.Tensor:
    """Keys as scores take them: (batch, groups, size, positions), fp32."""
    return k.float().mul_(scale).transpose(2, 3)


def _weights(q: torch.Tensor, keys: torch.Tensor, block: slice) -> torch.Tensor:
    """Return the share that each query of a block takes of each position up to the block's end."""
    scores = _group(q, keys.shape[1], block).float() @ keys[..., : block.stop]
    later = torch.full((block.stop - block.start,) * 2, float("-inf")).triu_(1)
    _ungroup(scores, block)[..., block].add_(later)
    return torch.softmax(scores, -1).to(q.dtype)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention as transformers' functions of this signature do. What is not causal, whole
    and in bf16 goes to SDPA.

    Args:
        query, key, value: (batch, heads, positions, size).

    Returns:
        (batch, positions, heads, size), and no weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    number = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    causal = other.get("is_causal")
    whole = 1 < query.shape[2] == key.shape[2] and query.shape[3] == key.shape[3] == value.shape[3]
    if (
        number != torch.bfloat16
        or not whole
        or attention_mask is not None
        or dropout
        or not (getattr(module, "is_causal", True) if causal is None else causal)
        or any(other.get(name) is not None for name in _OTHER_SCORES)
    ):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **other
        )
    attention: Any = _Attention.apply
    return attention(
        query, key, value, query.shape[3] ** -0.5 if scaling is None else scaling
    ), None


def replace(model: Any) -> int:
    """Let a model that computes its attention by SDPA use these products; return the number of its
    layers.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = [module for module in base.modules() if type(module).__name__.endswith("Attention")]
    if (
        getattr(base.config, "_attn_implementation", None) != "sdpa"
        or not layers
        or not _agrees(layers[0])
    ):
        return 0
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(KERNEL, attend)
    AttentionMaskInterface.register(KERNEL, sdpa_mask)
    base.set_attn_implementation(KERNEL)
    return len(layers)


@torch.enable_grad()
def _agrees(layer: Any) -> bool:
    """True if two blocks of random numbers, and their derivatives, agree with SDPA in fp32."""
    random, groups = torch.Generator().manual_seed(0), getattr(layer, "num_key_value_groups", 1)
    shapes = [(1, heads, BLOCK + 9, 16) for heads in (2 * groups, 2, 2)]
    numbers = [torch.randn(shape, generator=random).bfloat16() for shape in shapes]
    ours = [each.clone().requires_grad_() for each in numbers]
    theirs = [each.float().requires_grad_() for each in numbers]
    (q, k, v), (wide_q, wide_k, wide_v) = ours, theirs
    out = attend(layer, q, k, v, None)[0]
    wanted = scaled_dot_product_attention(
        wide_q, wide_k, wide_v, is_causal=True, enable_gqa=True
    ).transpose(1, 2)
    grad = torch.randn(out.shape, generator=random)
    results = [out, *torch.autograd.grad(out, ours, grad.bfloat16())]
    expected = [wanted, *torch.autograd.grad(wanted, theirs, grad)]
    return all(
        float((a.float() - b).norm().detach() / b.norm().detach()) < 0.02
        for a, b in zip(results, expected, strict=True)
    )
