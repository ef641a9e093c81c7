"""Which runner, which stack, which device: pure functions, each answer with its reason."""

from __future__ import annotations

from typing import Literal

from sftplay.decision import Decision
from sftplay.errors import MachineError, UsageError
from sftplay.host.machine import Machine
from sftplay.settings import Settings
from sftplay.stages import Stage

Runner = Literal["docker", "local"]
Stack = Literal["bnb", "unsloth", "cpu"]
Device = Literal["cuda", "cpu"]
RUNNERS = ("auto", "docker", "local")


def choose_runner(asked: str, machine: Machine) -> Decision[Runner]:
    """A container where an engine and the stack's image are there, else an environment on this machine.

    Raises:
        UsageError: no such runner (2). MachineError: docker was asked for and can't be had (69).
    """
    if asked not in RUNNERS:
        raise UsageError(f"--runner wants one of {', '.join(RUNNERS)}, got {asked!r}", todo="leave it out: auto")
    if asked == "local":
        return Decision("local", "asked for")
    lacking = (
        "no container engine here" if machine.docker_socket is None else "this version has no images to run in yet"
    )
    if asked == "docker":
        raise MachineError(
            f"--runner docker: {lacking}", todo="use --runner local: the same stages, the same locked versions"
        )
    return Decision("local", lacking)


def choose_device(settings: Settings, machine: Machine) -> Decision[Device]:
    """Where training, evaluation and inference run. Asked for here, asserted by the stage: never the CPU by accident.

    Raises:
        MachineError: `cuda` was asked for and no NVIDIA device is here (69).
    """
    asked = settings.train.device
    if asked == "cpu":
        return Decision("cpu", "train.device: cpu")
    if machine.has_gpu:
        return Decision("cuda", f"{machine.nvidia[0]} is here" if asked == "auto" else "train.device: cuda")
    if asked == "cuda":
        raise MachineError(
            "train.device is cuda, and this machine has no NVIDIA GPU (no /dev/nvidia*, no /dev/dxg)",
            todo="check the driver (nvidia-smi), or take --set train.device=cpu",
        )
    return Decision("cpu", "no NVIDIA GPU here")


def choose_stack(stage: Stage, settings: Settings, machine: Machine, present: frozenset[str]) -> Decision[Stack]:
    """The environment a stage runs in.

    Args:
        present: stacks whose environment is made already.
    """
    if stage.network:
        return Decision("cpu", "the default model's package is in this stack only")
    if stage.gpu:
        device = choose_device(settings, machine)
        if device.value == "cpu":
            return Decision("cpu", device.reason)
        return Decision(settings.backend, f"{device.reason}, backend: {settings.backend}")
    if machine.has_gpu and "bnb" in present:
        return Decision("bnb", "present, and the data libraries are locked alike")
    return Decision("cpu", "no GPU needed")
