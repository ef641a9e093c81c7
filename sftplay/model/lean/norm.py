"""Root-mean-square normalization (arXiv:1910.07467): w · x / √(mean(x²) + ε), with two saved
tensors instead of five.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

NAME = "RMS norms"


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, scale, weight)
        normed: torch.Tensor = (x * scale).to(x.dtype)  # rounded where the models round it
        return normed.mul_(weight) if weight.dtype == x.dtype else normed * weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scale, weight = ctx.saved_tensors
        number, grad, x = x.dtype, grads[0].float(), x.float()
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * x).mul_(scale).reshape(-1, x.shape[-1]).sum(0)
        inner = grad * weight
        along = torch.linalg.vecdot(inner, x).unsqueeze(-1).mul_(scale.pow(3)).div_(x.shape[-1])
        return inner.mul_(scale).addcmul_(x, along, value=-1).to(number), grad_weight, None


def replace(model: Any) -> int:
    """Every module that is called an RMS norm and computes one; return their count."""
    modules = [
        module
        for module in model.modules()
        if type(module).__name__.endswith("RMSNorm") and _agrees(module)
    ]
    for module in modules:
        module.forward = partial(_forward, module)
    return len(modules)


def _forward(module: Any, x: torch.Tensor) -> Any:
    normalize: Any = _RmsNorm.apply
    return normalize(x, module.weight, module.variance_epsilon)


@torch.no_grad()
def _agrees(module: Any) -> bool:
    if not hasattr(module, "variance_epsilon") or getattr(module, "weight", None) is None:
        return False
    number = module.weight.dtype
    x = torch.randn(2, module.weight.shape[0], generator=torch.Generator().manual_seed(0)).to(
        number
    )
    relative, absolute = (1e-4, 1e-5) if number == torch.float32 else (1e-2, 1e-3)
    return torch.allclose(_forward(module, x), module(x), rtol=relative, atol=absolute)
