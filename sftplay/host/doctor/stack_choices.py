"""Decisions that the tasks themselves would make on this machine, with their reasons."""

from __future__ import annotations

from dataclasses import dataclass

from sftplay.errors import MachineError, SftplayError
from sftplay.host.containers.available import AvailableImages
from sftplay.host.doctor.facts import MachineFacts
from sftplay.host.local import active
from sftplay.host.select import choose
from sftplay.settings import Settings
from sftplay.stages import BY_NAME

_TASKS = (
    ("process", "process", "bnb"),
    ("train-bnb", "train", "bnb"),
    ("train-unsloth", "train", "unsloth"),
)


@dataclass(frozen=True)
class StackChoice:
    """A task with its runner and stack, each with the reason; or what keeps it from starting."""

    task: str
    runner: str = ""
    stack: str = ""
    reason: str = ""
    trouble: str = ""


def choose_stacks(facts: MachineFacts, asked: str) -> list[StackChoice]:
    """The plan of a data stage and of a training in each backend."""
    return [_plan(facts, asked, task, stage, backend) for task, stage, backend in _TASKS]


def _plan(facts: MachineFacts, asked: str, task: str, stage: str, backend: str) -> StackChoice:
    settings = Settings.model_validate({"backend": backend})
    images, made = (
        _available_images(facts),
        frozenset(stack.name for stack in facts.stacks if stack.environment),
    )
    try:
        stack = choose.choose_stack(
            BY_NAME[stage], settings, facts.machine, made if asked == "local" else images.present
        )
        runner = choose.choose_runner(asked, stack.value, images, active.named())
        if runner.value == active.NAME:
            return _active_plan(task, backend, runner.reason)
        if runner.value == "local":
            stack = choose.choose_stack(BY_NAME[stage], settings, facts.machine, made)
    except SftplayError as problem:
        return StackChoice(task, trouble=str(problem))
    return StackChoice(task, runner.value, stack.value, f"{runner.reason}; {stack.reason}")


def _active_plan(task: str, backend: str, reason: str) -> StackChoice:
    """The user's own Python, with what is missing or outside its range there."""
    made, check = active.look(active.find(), backend)
    lacking = [one.name for one in check.missing]
    others = [f"{one.name} {found} (range {one.specifier})" for one, found in check.outside]
    said = [f"missing: {', '.join(lacking)}"] if lacking else []
    said += [f"outside: {', '.join(others)}"] if others else []
    said += [] if check.fits else [f"next: {check.pip_line(made.python)}"]
    why = f"{reason}; {made.python}: {'; '.join(said) or 'all ranges hold'}"
    return StackChoice(task, active.NAME, active.NAME, why, trouble="" if not lacking else why)


def _available_images(facts: MachineFacts) -> AvailableImages:
    """The engine with its images, as the tasks find it."""
    trouble = facts.engine_trouble
    if facts.engine is None and trouble is None:
        trouble = MachineError("no container engine here", todo="sudo apt install docker.io")
    return AvailableImages(
        problem=trouble, states={stack.name: stack.image for stack in facts.stacks}
    )
