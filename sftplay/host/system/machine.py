"""Facts about the user's machine, read and not judged: `choose` decides what follows from them."""

from __future__ import annotations

import os
import platform
import stat
from dataclasses import dataclass
from pathlib import Path

from sftplay.errors import MachineError
from sftplay.setup_files import nvidia_devices

DOCKER_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Machine:
    """Hardware and limits of this machine.

    Attributes:
        nvidia: device files of NVIDIA GPUs (/dev/nvidia0 …), or /dev/dxg under WSL 2.
        memory: bytes of memory this process may use (a container's limit counts).
        free_disk: bytes free on the project's disk.
        docker_socket: the local engine's socket, where one lies; whether it answers is another
            question.
    """

    system: str
    arch: str
    nvidia: tuple[str, ...]
    cores: int
    memory: int
    free_disk: int
    docker_socket: Path | None

    @property
    def has_gpu(self) -> bool:
        """Return whether an NVIDIA device file exists. Whether the device answers is found out
        where it is used.
        """
        return bool(self.nvidia)


def read_machine(root: Path | None = None, dev: Path = Path("/dev")) -> Machine:
    """Read the facts; takes milliseconds, starts nothing.

    Args:
        root: the project's folder (default: the working directory).
        dev: where device files lie.
    """
    disk = os.statvfs(root or Path())
    return Machine(
        system=platform.system(),
        arch=platform.machine(),
        nvidia=tuple(str(path) for path in nvidia_devices(dev)),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory=_memory(),
        free_disk=disk.f_bavail * disk.f_frsize,
        docker_socket=_docker_socket(),
    )


def require_supported(machine: Machine) -> None:
    """Linux on x86-64 (WSL 2 included), or MachineError (69)."""
    if (machine.system, machine.arch) != ("Linux", "x86_64"):
        raise MachineError(
            f"sftplay runs on Linux x86-64 (Windows: WSL 2); this is {machine.system} {machine.arch}",
            todo="use a Linux machine, or WSL 2 on Windows",
        )


def _memory() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):
            continue  # no such controller, or "max"
    return total


def _docker_socket() -> Path | None:
    host = os.environ.get("DOCKER_HOST", "")
    path = Path(host.removeprefix("unix://")) if host.startswith("unix://") else DOCKER_SOCKET
    try:
        return path if stat.S_ISSOCK(path.stat().st_mode) else None
    except OSError:
        return None
