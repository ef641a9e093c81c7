"""The steps, most important first, each with its share of the time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepPlan:
    """One step: what runs it, and for how long at most.

    Attributes:
        module, function: what its process calls with a Context.
        share: of the minutes, at most.
    """

    name: str
    title: str
    module: str
    share: float
    function: str = "run"


_HERE = "sftplay.model.acceptance"
STEPS = (
    StepPlan("machine", "device, kernels, attention", f"{_HERE}.machine", 0.15),
    StepPlan("numerics", "every way of training next to plain PyTorch", f"{_HERE}.matrix", 0.3),
    StepPlan("bnb", "QLoRA with BitsAndBytes", f"{_HERE}.backends", 0.3, "run_bnb"),
    StepPlan("unsloth", "QLoRA with Unsloth", f"{_HERE}.backends", 0.35, "run_unsloth"),
    StepPlan("memory", "out of memory, auto, forecast", f"{_HERE}.memory", 0.25),
    StepPlan("lengths", "short and long rows, padded and packed", f"{_HERE}.lengths", 0.3),
    StepPlan("speed", "next to TRL and Unsloth's script", f"{_HERE}.speed", 0.4),
    StepPlan("answers", "batch decoding, first token", f"{_HERE}.answers", 0.15),
    StepPlan("ranks", "several ranks", f"{_HERE}.ranks", 0.2),
)
BY_NAME = {step.name: step for step in STEPS}
