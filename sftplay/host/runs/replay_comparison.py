"""Comparison of a run with its replay: losses step by step, and weights file by file."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sftplay import console
from sftplay.host.runs import curves
from sftplay.manifest import MANIFEST
from sftplay.runs import Run
from sftplay.untrusted import read_json

SHOWN = 10  # losses
GPU_TOLERANCE = 0.02  # of a loss: kernels that add in any order


@dataclass(frozen=True)
class ReplayComparison:
    """Two trainings of the same thing.

    Attributes:
        points: (step, loss then, loss now) of every step that both logged.
        files: adapter file → whether its bytes are the same; empty where the replay was not whole.
    """

    points: tuple[tuple[int, float, float], ...]
    files: dict[str, bool]

    @property
    def largest(self) -> float:
        """The largest difference of a loss."""
        return max((abs(now - then) for _, then, now in self.points), default=math.nan)

    def is_same(self, *, exact: bool) -> bool:
        """Return whether it came out the same: to the bit, or as near as a GPU comes."""
        if not self.points:
            return False
        if exact:
            return self.largest == 0 and all(self.files.values())
        return all(
            abs(now - then) <= GPU_TOLERANCE * max(abs(then), 0.1) for _, then, now in self.points
        )


def compare(old: Run, new: Run, *, whole: bool) -> ReplayComparison:
    """The losses of steps that both logged, and the published weights file by file."""
    then, now = (dict(curves.one_curve(run, "loss")) for run in (old, new))
    points = tuple((int(step), then[step], now[step]) for step in sorted(then) if step in now)
    return ReplayComparison(points, _files(old, new) if whole else {})


def _files(old: Run, new: Run) -> dict[str, bool]:
    folders = [run.require_tuned() for run in (old, new)]
    listed = [read_json(folder / MANIFEST, files=dict)["files"] for folder in folders]
    names = [
        name for name in listed[0] if name.endswith(".safetensors") or name == "adapter_config.json"
    ]
    return {name: listed[0][name]["hash"] == listed[1].get(name, {}).get("hash") for name in names}


def say(compared: ReplayComparison, old: Run, new: Run, *, exact: bool, same: bool) -> None:
    """Print how the losses and files compare."""
    for step, then, now in compared.points[:SHOWN]:
        console.info(
            f"step {step}: loss {then:.6f} then, {now:.6f} now{'' if then == now else '   ← differs'}"
        )
    if len(compared.points) > SHOWN:
        console.info(
            f"… {len(compared.points)} losses in all, the largest difference is {compared.largest:.3g}"
        )
    for name, alike in compared.files.items():
        (console.success if alike else console.warning)(
            f"{name}: {'the same bytes' if alike else 'other bytes'}"
        )
    how = "to the byte" if exact and compared.files else "in its losses"
    if same:
        console.success(
            f"{old.name} came out the same {how}; the replay is {new.name} (inv runs.rm {new.name})"
        )
    else:
        console.error(
            f"{old.name} did not come out the same; look: inv runs.compare {old.name} {new.name}"
        )
