"""Where a stage computes: decided with a reason, and asserted. A run never trains on the CPU by accident."""

from __future__ import annotations

import os
from pathlib import Path

from sftplay.decision import Decision
from sftplay.errors import MachineError
from sftplay.settings import Settings

ASKED_VARIABLE = "SFTPLAY_DEVICE"  # set by the launcher: the device it asked the runner for


def decide_device(settings: Settings) -> Decision[str]:
    """`cuda` or `cpu`.

    Raises:
        MachineError: a GPU was asked for, by the config or by the launcher, and none answers (69).
    """
    import torch

    asked = settings.train.device
    launcher = os.environ.get(ASKED_VARIABLE, "")
    wanted = asked if asked != "auto" else launcher
    if wanted == "cpu":
        return Decision("cpu", "asked for" if asked == "cpu" else "the host has no NVIDIA device")
    if torch.cuda.is_available():
        if torch.cuda.device_count() > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
            return Decision("cuda", f"{torch.cuda.get_device_name(0)}, the first of {torch.cuda.device_count()} GPUs")
        return Decision("cuda", torch.cuda.get_device_name(0))
    if wanted == "cuda" or _device_files():
        built = torch.version.cuda or "no CUDA"
        raise MachineError(
            f"a GPU was asked for, but none answers (this torch is built for {built})",
            todo="look at nvidia-smi on the host, or go on without a GPU: --set train.device=cpu",
        )
    return Decision("cpu", "no NVIDIA device on this machine")


def _device_files() -> bool:
    return any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/dxg"))
