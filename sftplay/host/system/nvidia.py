"""GPUs as nvidia-smi reports them: the one place on the host that asks it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from sftplay.errors import MachineError

_FIELDS = "name,memory.total,memory.free,compute_cap,driver_version"
_MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One GPU: memory in bytes, capability as (major, minor)."""

    name: str
    memory: int
    free: int
    capability: tuple[int, int]
    driver: str


def query_gpus(timeout: float = 10.0) -> list[Gpu]:
    """Every GPU that answers.

    Raises:
        MachineError: nvidia-smi is missing, fails, hangs, or says something unknown (69).
    """
    command = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise MachineError(
            "a GPU is there, but nvidia-smi is not", todo="install the NVIDIA driver's tools"
        ) from None
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"nvidia-smi did not answer in {timeout:.0f} s",
            todo="restart the machine; the driver hangs",
        ) from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        reason = said[0][:200] if said else f"exit code {done.returncode}"
        raise MachineError(
            f"the GPU does not answer: {reason}", todo="check nvidia-smi, then restart the machine"
        )
    return [parse(line) for line in done.stdout.splitlines() if line.strip()]


def parse(line: str) -> Gpu:
    """One line of nvidia-smi's csv: `NVIDIA H200, 143771, 143167, 9.0, 570.86.15` (memory in MiB)."""
    try:
        name, total, free, capability, driver = (part.strip() for part in line.split(","))
        major, minor = capability.split(".")
        return Gpu(name, int(total) * _MIB, int(free) * _MIB, (int(major), int(minor)), driver)
    except ValueError:
        raise MachineError(
            f"nvidia-smi says something unknown: {line[:200]}", todo="update the driver"
        ) from None
