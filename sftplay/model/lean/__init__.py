"""The same arithmetic in less time, in fp32 on the CPU: for training with fewer passes over memory, for answers see `few_rows`.

Half of a plain training step on a CPU is not matrix products but the small operations around them, each of which reads and
writes whole activations. Here some of them are done in one go, with their derivative written by hand. Every replacement is
tried on random numbers beside what it replaces, and used only where both agree: an architecture that computes something
else keeps its own code.
"""

from __future__ import annotations

from typing import Any

import torch

from sftplay.decision import Decision
from sftplay.model.lean import lowrank, norm, rotary

PARTS = (lowrank, norm, rotary)


def slim(model: Any) -> Decision[list[str]]:
    """Replace what can be replaced, in place; gives the names of what was, and why the rest was not.

    Each change is an instance's `forward`, or a function in the model's own module: nothing that is saved changes.
    """
    kinds = {(weight.device.type, weight.dtype) for weight in model.parameters() if weight.is_floating_point()}
    if kinds != {("cpu", torch.float32)}:
        return Decision([], "only in fp32 on the CPU")
    replaced = {part.NAME: part.replace(model) for part in PARTS}
    done = [f"{name} ({count})" for name, count in replaced.items() if count]
    return Decision(done, "each was compared with what it replaces")
