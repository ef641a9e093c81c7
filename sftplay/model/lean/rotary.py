"""Rotary position embedding (arXiv:2104.09864) in the halves layout: written into its result,
without rotated copies.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch

NAME = "rotary embeddings"
_FUNCTION = "apply_rotary_pos_emb"


class _Rotate(torch.autograd.Function):
    """x, (…, size), turned by angles whose cosines and sines are given; both halves of a row have
    the same angles.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, sin, -1), None, None


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    half = x.shape[-1] // 2
    cos, sin = cos[..., :half], sin[..., :half]
    out = torch.empty_like(x)
    (left, right), (out_left, out_right) = x.split(half, -1), out.split(half, -1)
    torch.mul(left, cos, out=out_left)
    out_left.addcmul_(right, sin, value=-sign)
    torch.mul(right, cos, out=out_right)
    out_right.addcmul_(left, sin, value=sign)
    return out


def replace(model: Any) -> int:
    """In the modules where the model's attention is written; return their count."""
    names = {
        type(module).__module__
        for module in model.modules()
        if type(module).__name__.endswith("Attention")
    }
    homes = [
        home for home in (sys.modules.get(name) for name in sorted(names)) if home and _agrees(home)
    ]
    for home in homes:
        plain = getattr(home, _FUNCTION)
        if not isinstance(plain, partial):  # else it was replaced for another model of this process
            setattr(home, _FUNCTION, partial(_apply, plain))
    return len(homes)


def _apply(
    plain: Any,
    q: torch.Tensor,
    k: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    unsqueeze_dim: int = 1,
) -> Any:
    """Queries and keys in their positions; the signature is that of transformers' models."""
    half = cos.shape[-1] // 2
    halves_agree = all(torch.equal(each[..., :half], each[..., half:]) for each in (cos, sin))
    same = q.dtype == k.dtype == cos.dtype == sin.dtype and q.dtype in (
        torch.float32,
        torch.bfloat16,
    )
    if not same or cos.shape[-1] != q.shape[-1] or not halves_agree:
        return plain(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    rotate: Any = _Rotate.apply
    return rotate(q, cos, sin), rotate(k, cos, sin)


@torch.no_grad()
def _agrees(home: Any) -> bool:
    plain = getattr(home, _FUNCTION, None)
    if plain is None:
        return False
    random = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, heads, 5, 8, generator=random) for heads in (4, 2))
    angles = torch.randn(1, 5, 4, generator=random).repeat(1, 1, 2)
    try:
        theirs = plain(q, k, angles.cos(), angles.sin())
    except (TypeError, ValueError, RuntimeError):
        return False  # a function of the same name that takes something else
    ours = _apply(plain, q, k, angles.cos(), angles.sin())
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(ours, theirs, strict=True)
    )
