"""Device of a stage: decided with a reason, and asserted.

A run never trains on the CPU by accident.
"""

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
        return Decision("cuda", torch.cuda.get_device_name(0))
    if wanted == "cuda" or _device_files():
        built = torch.version.cuda or "no CUDA"
        raise MachineError(
            f"a GPU was asked for, but none answers (this torch is built for {built})",
            todo="look at nvidia-smi on the host, or continue without a GPU: --set train.device=cpu",
        )
    return Decision("cpu", "no NVIDIA device on this machine")


def likely_device(settings: Settings) -> str:
    """Return `cuda` or `cpu` as far as can be told without torch, for messages before it is loaded."""
    asked = settings.train.device
    wanted = asked if asked != "auto" else os.environ.get(ASKED_VARIABLE, "")
    return wanted or ("cuda" if _device_files() else "cpu")


def nvidia_driver() -> str:
    """Return the NVIDIA driver's version, as its kernel module tells it; empty without one."""
    try:
        return Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except OSError:
        return os.environ.get("NVIDIA_DRIVER_VERSION", "")


def _device_files() -> bool:
    return any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/dxg"))
