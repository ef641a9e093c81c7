"""What would run where: the decisions that the tasks themselves would take on this machine, with their reasons."""

from __future__ import annotations

from dataclasses import dataclass

from sftplay.errors import SftplayError
from sftplay.host import choose
from sftplay.host.doctor.facts import Facts
from sftplay.settings import Settings
from sftplay.stages import BY_NAME

_TASKS = (("process", "process", "bnb"), ("train-bnb", "train", "bnb"), ("train-unsloth", "train", "unsloth"))


@dataclass(frozen=True)
class Plan:
    """A task with its runner and stack, each with the reason; or what keeps it from starting."""

    task: str
    runner: str = ""
    stack: str = ""
    reason: str = ""
    trouble: str = ""


def outlook(facts: Facts, asked: str) -> list[Plan]:
    """The plan of a data stage and of a training in each backend."""
    return [_plan(facts, asked, task, stage, backend) for task, stage, backend in _TASKS]


def _plan(facts: Facts, asked: str, task: str, stage: str, backend: str) -> Plan:
    settings = Settings.model_validate({"backend": backend})
    present = frozenset(stack.name for stack in facts.stacks if stack.environment or stack.image == "present")
    try:
        runner = choose.choose_runner(asked, facts.machine)
        stack = choose.choose_stack(BY_NAME[stage], settings, facts.machine, present)
    except SftplayError as problem:
        return Plan(task, trouble=str(problem))
    return Plan(task, runner.value, stack.value, f"{runner.reason}; {stack.reason}")
