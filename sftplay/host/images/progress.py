"""Progress of a BuildKit build, for people: a line for each finished step, and the step that runs
now.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sftplay import console

_HEARTBEAT = 30.0  # seconds without a word, where no terminal shows a clock
_STEP = re.compile(r"^#(\d+) \[(?:(\S+) )?(\d+)/(\d+)\] (\S+)")
_EXPORT = re.compile(r"^#(\d+) exporting to (?:image|docker image format)")
_EVENT = re.compile(r"^#(\d+) (DONE|CACHED|ERROR|CANCELED)\b ?([\d.]+)?")
_OUTPUT = re.compile(r"^#(\d+) [\d.]+ (.*)")
_STAGE = re.compile(r"^# -{4} (.+?)(?:[:,.] .*|\.)?\n(?:#.*\n)*FROM \S+ AS (\S+)", re.MULTILINE)


@dataclass
class _Step:
    title: str
    started: float
    output: deque[str] = field(default_factory=lambda: deque(maxlen=15))


def stage_titles(dockerfile: Path) -> Mapping[str, str]:
    """Name of a build stage → what the comment above it says that it is."""
    return {name: title for title, name in _STAGE.findall(dockerfile.read_text(encoding="utf-8"))}


class BuildProgress:
    """Fed with BuildKit's lines (`--progress plain`), tells a person.

    Attributes:
        failed: the last lines of the step that failed, once one has.
    """

    def __init__(
        self, titles: Mapping[str, str], show: Callable[[str], None] | None = None
    ) -> None:
        self.failed: list[str] = []
        self._titles = titles
        self._show = show
        self._steps: dict[str, _Step] = {}
        self._running: dict[str, _Step] = {}
        self._said = time.monotonic()

    def feed(self, line: str) -> None:
        """One line of BuildKit's output."""
        if event := _EVENT.match(line):
            self._end(event[1], event[2], float(event[3] or 0))
        elif (step := _STEP.match(line)) and step[5] != "FROM":
            self._begin(step[1], self._title(step))
        elif export := _EXPORT.match(line):
            self._begin(export[1], "writing the image")
        elif (output := _OUTPUT.match(line)) and output[1] in self._steps:
            self._steps[output[1]].output.append(output[2])

    def tick(self) -> None:
        """A moment has passed: what runs, and for how long."""
        running = ", ".join(
            f"{step.title} ({time.monotonic() - step.started:.0f} s)"
            for step in self._running.values()
        )
        if running and self._show:
            self._show(running)
        elif running and time.monotonic() - self._said > _HEARTBEAT:
            self._say(f"{running} …")

    def _title(self, step: re.Match[str]) -> str:
        stage = step[2] or ""
        return f"{self._titles.get(stage, stage or 'step')} {step[3]}/{step[4]}"

    def _begin(self, number: str, title: str) -> None:
        if number not in self._steps:  # BuildKit repeats the heading when it comes back to a step
            self._steps[number] = self._running[number] = _Step(title, time.monotonic())

    def _end(self, number: str, how: str, seconds: float) -> None:
        step = self._steps.get(number)
        if step is None or self._running.pop(number, None) is None:
            return
        if how == "ERROR":
            self.failed = list(step.output)
        elif how == "CACHED":
            self._say(f"{step.title}: as before")
        elif how == "DONE":
            self._say(f"{step.title}: {seconds:.0f} s")

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        console.info(text)
