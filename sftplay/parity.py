"""Comparison of two trainings, step by step: trained tokens exactly, loss and gradient norm within
a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftplay.attempts import newest_whole_checkpoint
from sftplay.errors import NotFoundError, RefusedError
from sftplay.files import write_json
from sftplay.runs import Run
from sftplay.untrusted import read_json, read_model_json

FILE = "parity.json"
# Relative differences that rounding explains: other kernels, other order of sums, 16-bit numbers. A
# wrong scale is far outside.
LIMITS: Mapping[str, float] = {"loss": 0.02, "grad_norm": 0.10}


@dataclass(frozen=True)
class Step:
    """One optimizer step: its number, mean loss in nats, norm of the gradient before clipping,
    trained tokens.
    """

    step: int
    loss: float
    grad_norm: float
    trained_tokens: int


def history(run: Run) -> list[Step]:
    """The steps of a run that logged every one of them (train.logging_steps=1).

    Raises:
        NotFoundError: no whole checkpoint (66). RefusedError: values to compare are missing in its log (76).
    """
    folder = next(
        (attempt.checkpoints for attempt in reversed(run.attempts()) if attempt.has_begun), None
    )
    checkpoint = newest_whole_checkpoint(folder)[0] if folder else None
    if checkpoint is None:
        raise NotFoundError(f"the run {run.name} has no whole checkpoint", where=str(run.folder))
    logged = [
        entry
        for entry in read_model_json(checkpoint / "trainer_state.json")["log_history"]
        if "loss" in entry
    ]
    try:
        return [
            Step(int(e["step"]), float(e["loss"]), float(e["grad_norm"]), int(e["trained_tokens"]))
            for e in logged
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(
            f"{error} is missing in the log of {run.name}", where=str(checkpoint)
        ) from error


def compare(
    one: Sequence[Step], other: Sequence[Step], limits: Mapping[str, float] = LIMITS
) -> list[str]:
    """List differences beyond the limits, as sentences. Empty: the two runs agree. Pure."""
    if not one or [step.step for step in one] != [step.step for step in other]:
        return [f"other steps: {[step.step for step in one]} and {[step.step for step in other]}"]
    found = []
    for ours, theirs in zip(one, other, strict=True):
        if ours.trained_tokens != theirs.trained_tokens:
            found.append(
                f"step {ours.step}: {ours.trained_tokens} and {theirs.trained_tokens} trained tokens"
            )
        for name, limit in limits.items():
            apart = difference(getattr(ours, name), getattr(theirs, name))
            if not apart <= limit:
                shown = f"{getattr(ours, name):.6g} and {getattr(theirs, name):.6g}"
                found.append(
                    f"step {ours.step}: {name} {shown}, {apart:.2%} apart (allowed {limit:.0%})"
                )
    return found


def difference(one: float, other: float) -> float:
    """Relative difference of two numbers; not finite where one of them is not."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other), 1e-12)


def report(
    runs: Sequence[Run], facts: Mapping[str, Any], limits: Mapping[str, float] = LIMITS
) -> Path:
    """Compare two finished runs and write parity.json into both folders.

    Raises:
        RefusedError: they do not train alike (76); the report is written all the same.
    """
    first, second = (history(run) for run in runs)
    problems = compare(first, second, limits)
    largest = {
        name: max((difference(getattr(a, name), getattr(b, name)) for a, b in zip(first, second, strict=False)), default=None)
        for name in limits
    }  # fmt: skip
    value = {
        **facts,
        "runs": [run.name for run in runs],
        "stamps": [read_json(run.stamp) for run in runs],
        "limits": dict(limits),
        "largest_difference": {
            key: None if apart is None or math.isinf(apart) else apart
            for key, apart in largest.items()
        },
        "steps": [[_plain(step) for step in steps] for steps in (first, second)],
        "problems": problems,
        "passed": not problems,
    }
    for run in runs:
        write_json(run.folder / FILE, value)
    path = runs[0].folder / FILE
    if problems:
        raise RefusedError(
            f"the two do not train alike: {problems[0]}"
            + (f" ({len(problems)} differences)" if problems[1:] else ""),
            where=str(path),
            todo="look at the file: the same trained tokens with another loss is a wrong scale, other tokens are other batches",
        )
    return path


def _plain(step: Step) -> dict[str, Any]:
    return {
        key: None if isinstance(v, float) and not math.isfinite(v) else v
        for key, v in asdict(step).items()
    }
