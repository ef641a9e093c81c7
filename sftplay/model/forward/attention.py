"""The attention kernel that runs: seen during one forward pass, never taken from a setting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sftplay.errors import MachineError
from sftplay.model.forward import packing
from sftplay.model.forward.loss import target_loss
from sftplay.model.lean import attention as blocks

# Beginnings of operators' names → the name that is stamped.
KERNELS = (
    ("xformers", "xformers"),
    ("flash_attn", "flash_attention_2"),
    ("aten._scaled_dot_product_flash_attention", "sdpa/flash"),
    ("aten._scaled_dot_product_cudnn_attention", "sdpa/cudnn"),
    ("aten._scaled_dot_product_efficient_attention", "sdpa/efficient"),
    ("aten._scaled_dot_product_fused_attention", "sdpa/fused"),
    ("aten._flash_attention_forward", "varlen/flash"),
)


class _Operators(TorchDispatchMode):
    """Notes the name of every operator that runs below autograd."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def kernel_of(model: Any, batch: dict[str, Any]) -> str:
    """Name of the kernel that one forward pass used; random state is left as it was.

    Args:
        batch: input_ids and labels of shape (rows, length), with at least one trained position.

    Raises:
        MachineError: xFormers ran, which no stack of sftplay holds (69).
    """
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _Operators() as seen:
        target_loss(model, batch)
    name = name_of(seen.names, getattr(model.config, "_attn_implementation", None))
    if name == "xformers":
        raise MachineError(
            "xFormers computes the attention, and it is in no lock of sftplay",
            todo="uninstall it from this environment, or make the environment again: inv install",
        )
    return name


def name_of(operators: Iterable[str], implementation: str | None) -> str:
    """Pure: the kernel among the operators that ran.

    SDPA's plain formula and products in blocks leave no operator of their own.
    """
    for start, name in KERNELS:
        if any(operator.startswith(start) for operator in operators):
            return name
    if implementation in (blocks.KERNEL, packing.BLOCKS_NAME):
        return "blocks"
    return "sdpa/math" if implementation in ("sdpa", packing.NAME) else "eager"
