"""What is asked for on `cuda`, made on the CPU: for stages on a pretended GPU."""

from __future__ import annotations

import contextlib
from typing import Any


class Nowhere(contextlib.nullcontext[None]):
    """torch.cuda.device(…) without a device."""

    idx = 0

    def __init__(self, *args: Any) -> None:
        super().__init__()


def send_to_cpu(*, numbers: bool = False) -> None:
    """Make on the CPU what is asked for on `cuda`.

    Args:
        numbers: devices are also named by the GPU's number alone, and memory is pinned for it.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    def place(key: str, value: Any) -> Any:
        on_device = isinstance(value, torch.device) and value.type == "cuda"
        named = isinstance(value, str) and value.split(":")[0] == "cuda"
        return "cpu" if on_device or named or (key == "device" and type(value) is int) else value

    class Elsewhere(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            numbered = numbers and func in (torch.device, torch.Tensor.to)
            placed = {key: place(key, value) for key, value in (kwargs or {}).items()}
            if numbers:
                placed.pop("pin_memory", None)
            return func(*[place("device" if numbered else "", value) for value in args], **placed)

    Elsewhere().__enter__()
