"""Runner, stack and device: pure functions, each answer with its reason."""

from __future__ import annotations

from typing import Literal

from sftplay.decision import Decision
from sftplay.errors import MachineError, UsageError
from sftplay.host.containers import image_names
from sftplay.host.containers.available import AvailableImages, command_to_get, describe_missing
from sftplay.host.system.machine import Machine
from sftplay.places import DEFAULT_MODEL
from sftplay.settings import Settings
from sftplay.stages import BY_NAME, Stage

RunnerName = Literal["docker", "local", "active"]
StackName = Literal["bnb", "unsloth", "cpu", "export", "lm-eval", "lm-eval-cuda"]
DeviceName = Literal["cuda", "cpu"]
EXPORT: Decision[StackName] = Decision("export", "llama.cpp is in this stack only")
RUNNERS = ("auto", "docker", "local", "active")


def check_runner(asked: str) -> None:
    """UsageError (2) where there is no such runner."""
    if asked not in RUNNERS:
        raise UsageError(
            f"--runner requires one of {', '.join(RUNNERS)}, got {asked!r}",
            todo="leave it out: auto",
        )


def needs_no_engine(asked: str, python: str) -> bool:
    """Return whether no container engine is asked, as `choose_runner` would not use one."""
    return asked in ("local", "active") or (asked == "auto" and bool(python))


def choose_runner(
    asked: str, stack: str, shelf: AvailableImages, python: str = ""
) -> Decision[RunnerName]:
    """The user's own Python where they named one; else a container where an engine and the stack's
    image are there, else an environment on this machine.

    Args:
        stack: the one that the stage requires in a container.
        python: what SFTPLAY_PYTHON says.

    Raises:
        UsageError: no such runner (2). SftplayError: docker was asked for and can't be had (69,
            77).
    """
    check_runner(asked)
    if asked == "local":
        return Decision("local", "asked for")
    if asked == "active":
        return Decision("active", "asked for")
    if asked == "auto" and python:
        return Decision("active", f"SFTPLAY_PYTHON={python}")
    if stack not in image_names.STACKS:
        return _without_image(asked, stack)
    return _with_image(asked, stack, shelf)


def _without_image(asked: str, stack: str) -> Decision[RunnerName]:
    if asked == "docker":
        raise MachineError(
            f"--runner docker: {stack} is an environment only, there is no image of it",
            todo="leave --runner out, or use --runner local",
        )
    return Decision("local", f"{stack} is an environment only")


def _with_image(asked: str, stack: str, shelf: AvailableImages) -> Decision[RunnerName]:
    if shelf.problem is not None:
        if asked == "docker":
            raise shelf.problem
        return Decision("local", shelf.problem.what)
    state = shelf.states.get(stack, "missing")
    if state == "present":
        return Decision(
            "docker", "asked for" if asked == "docker" else f"the {stack} image is here"
        )
    if asked == "docker":
        raise MachineError(
            f"--runner docker: {describe_missing(stack, state)}",
            todo=f"{command_to_get(stack)}; or use --runner local",
        )
    return Decision("local", f"{describe_missing(stack, state)}: {command_to_get(stack)}")


def choose_training_stack(
    settings: Settings, machine: Machine, backend: str, *, preflight: bool
) -> Decision[StackName]:
    """The stack of a training.

    Without preflight the Unsloth stack starts on a machine without a GPU as well.
    """
    if backend == "unsloth" and not preflight:
        return Decision("unsloth", "--no-preflight")
    return choose_stack(BY_NAME["train"], settings, machine, frozenset(), backend)


def choose_device(settings: Settings, machine: Machine) -> Decision[DeviceName]:
    """Choose the device of training, evaluation and inference. The stage asserts it: never the CPU
    by accident.

    Raises:
        MachineError: `cuda` was asked for and no NVIDIA device is here (69).
    """
    asked = settings.train.device
    if asked == "cpu":
        return Decision("cpu", "train.device: cpu")
    if machine.has_gpu:
        return Decision(
            "cuda", f"{machine.nvidia[0]} is here" if asked == "auto" else "train.device: cuda"
        )
    if asked == "cuda":
        raise MachineError(
            "train.device is cuda, and this machine has no NVIDIA GPU (no /dev/nvidia*, no /dev/dxg)",
            todo="check the driver (nvidia-smi), or take --set train.device=cpu",
        )
    return Decision("cpu", "no NVIDIA GPU here")


def choose_lm_eval(settings: Settings, machine: Machine) -> Decision[StackName]:
    """Choose the environment of a stage that uses lm-eval: PyPI's torch on a GPU, whatever the run's
    backend, whose adapters plain PEFT loads.
    """
    device = choose_device(settings, machine)
    return Decision("lm-eval-cuda" if device.value == "cuda" else "lm-eval", device.reason)


def choose_stack(
    stage: Stage, settings: Settings, machine: Machine, present: frozenset[str], backend: str = ""
) -> Decision[StackName]:
    """The stack that a stage runs in.

    Args:
        present: stacks whose environment is made already, or whose image is here.
        backend: the run's, where it has one: a run that was handed over continues in the backend that
            it ended in.
    """
    if stage.packages == "export":
        return EXPORT
    if stage.network:
        return _fetching(settings, present)
    if stage.gpu:
        device = choose_device(settings, machine)
        if device.value == "cpu":
            return Decision("cpu", device.reason)
        chosen: StackName = "unsloth" if (backend or settings.backend) == "unsloth" else "bnb"
        return Decision(
            chosen, f"{device.reason}, {'the run’s backend' if backend else 'backend'}: {chosen}"
        )
    if "bnb" in present and (machine.has_gpu or "cpu" not in present):
        return Decision("bnb", "present, and the data libraries are locked alike")
    return Decision("cpu", "no GPU needed")


def _fetching(settings: Settings, present: frozenset[str]) -> Decision[StackName]:
    if settings.model.name == DEFAULT_MODEL or "cpu" in present:
        return Decision("cpu", "the default model's package is in this stack only")
    return Decision("bnb", "present") if "bnb" in present else Decision("cpu", "no GPU needed")
