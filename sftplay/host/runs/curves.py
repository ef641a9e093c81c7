"""The logged points of a run, attempt by attempt: loss, learning rate, speed, memory by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sftplay.attempts import Attempt
from sftplay.errors import NotFoundError, SftplayError
from sftplay.runs import Run
from sftplay.untrusted import parse_json, read_lines

Point = tuple[float, float]


@dataclass(frozen=True)
class AttemptCurves:
    """Points of one attempt, by rising step; a resumed run repeated some steps, their last value
    counts.

    Attributes:
        values: step → what was logged there.
        unreadable: lines that are no point.
    """

    attempt: Attempt
    values: Mapping[int, Mapping[str, float]]
    unreadable: int = 0

    def of(self, name: str) -> list[Point]:
        """(step, value) of one quantity."""
        return [(float(step), point[name]) for step, point in self.values.items() if name in point]


def read(run: Run) -> list[AttemptCurves]:
    """The curves of every attempt that has some."""
    found = [read_attempt(attempt) for attempt in run.attempts()]
    return [curves for curves in found if curves.values or curves.unreadable]


def read_attempt(attempt: Attempt) -> AttemptCurves:
    """One attempt's curves.

    A step that was trained again takes the place of what came after it, too: those steps are
    undone.
    """
    values: dict[int, dict[str, float]] = {}
    unreadable, last = 0, -1
    for line in _lines(attempt.steps):
        point = _point(line)
        if point is None:
            unreadable += 1
            continue
        step = int(point.pop("step"))
        if step < last:
            values = {before: value for before, value in values.items() if before < step}
        values[step] = {**values.get(step, {}), **point}
        last = step
    return AttemptCurves(attempt, values, unreadable)


def _lines(path: Path) -> Iterator[bytes]:
    """The file's lines; one that is no point in place of those that can't be read."""
    try:
        yield from read_lines(path)
    except NotFoundError:
        return
    except SftplayError as error:
        yield error.what.encode()


def _point(line: bytes) -> dict[str, float] | None:
    try:
        value = parse_json(line)
        numbers = {
            key: float(item) for key, item in value.items() if isinstance(item, (int, float))
        }
    except (ValueError, AttributeError):
        return None
    return numbers if "step" in numbers else None


def one_curve(run: Run, name: str) -> Sequence[Point]:
    """A quantity over the newest attempt that has it: the one that counts."""
    return next((points for curves in reversed(read(run)) if (points := curves.of(name))), [])
