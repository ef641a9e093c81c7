"""Root-mean-square normalization (arXiv:1910.07467): w · x / √(mean(x²) + ε), with two saved tensors instead of five."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

NAME = "RMS norms"


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, scale, weight)
        out: torch.Tensor = (x * scale).mul_(weight)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scale, weight = ctx.saved_tensors
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grads[0] * x).mul_(scale).reshape(-1, x.shape[-1]).sum(0)
        inner = grads[0] * weight
        along = torch.linalg.vecdot(inner, x).unsqueeze(-1).mul_(scale.pow(3)).div_(x.shape[-1])
        return inner.mul_(scale).addcmul_(x, along, value=-1), grad_weight, None


def replace(model: Any) -> int:
    """Every module that is called an RMS norm and computes one; gives their number."""
    modules = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm") and _agrees(module)]
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
    x = torch.randn(2, module.weight.shape[0], generator=torch.Generator().manual_seed(0))
    return torch.allclose(_forward(module, x), module(x), rtol=1e-4, atol=1e-5)
