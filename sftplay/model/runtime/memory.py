"""Memory: the GPU's where one is used, else this process's."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import torch

_ANSWERS = (
    2 << 30
)  # bytes; a fixed number, so that the CPU's answers do not depend on what else is running


def peak_memory() -> int:
    """The most bytes so far."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_in_use() -> int:
    """Bytes now: what torch holds of the GPU, else what is resident of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.memory_reserved())
    return int(psutil.Process().memory_info().rss)


def for_answers(device: torch.device) -> int:
    """Bytes that keys and values of rows which are answered together may take."""
    return int(torch.cuda.mem_get_info(device)[0] // 2) if device.type == "cuda" else _ANSWERS


def available(device: torch.device, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free now: the GPU's, else the machine's, as far as a container's limit goes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((cgroup / "memory.max").read_text())
        free = min(free, limit - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no such controller, or "max"
    return max(free, 0)
