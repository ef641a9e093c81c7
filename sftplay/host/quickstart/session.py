"""Steps of the guided run: a heading, the command a person would type for it, the stage, and its
end.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sftplay import console
from sftplay.call import StageCall
from sftplay.errors import EXIT_MEANINGS
from sftplay.host.launch.request import LaunchRequest
from sftplay.host.launch.stage import start
from sftplay.host.system.machine import Machine
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import BY_NAME

STEPS = 8
_STOPPED = (85, 129, 130, 143)


@dataclass(frozen=True)
class GuidedSession:
    """A quickstart as it was started, and the machine it found."""

    config: str
    overrides: tuple[str, ...]
    settings: Settings
    machine: Machine
    asking: bool
    style: str | None

    def call(
        self, stage: str, options: Mapping[str, Any] | None = None, target: Run | None = None
    ) -> StageCall:
        """Return the call of a stage in this session.

        Args:
            target: the run it works on (default: the config's).
        """
        run = target.name if target and target.name != self.settings.run.name else None
        return StageCall(BY_NAME[stage], self.config, run, self.overrides, options or {})


class SessionEnded(Exception):  # noqa: N818 - an end that is explained already, no error
    """The session's exit code; the messages were printed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run_step(call: StageCall, number: int | None = None, title: str = "") -> None:
    """Run a stage under its heading (none where the step has one already).

    Raises:
        SessionEnded: it failed or was stopped.
    """
    if number is not None:
        print_heading(number, title, command_for(call))
    name = call.stage.name
    code = start(LaunchRequest(call))
    if code in _STOPPED:
        console.warning(f"stopped in {name}; the same command continues from there")
        raise SessionEnded(code)
    if code:
        console.error(
            f"quickstart ends here: {name} ended with {code} ({EXIT_MEANINGS.get(code, 'unknown')})"
        )
        console.info(
            "next: fix the problem above, then start quickstart again; what is done is not done twice"
        )
        raise SessionEnded(code)


def print_heading(number: int, title: str, command: str = "") -> None:
    """Print the line that opens a step, and the command that does it alone."""
    console.info(f"── {number}/{STEPS} {title}")
    if command:
        console.info(f"   the command for it: {command}")


def command_for(call: StageCall) -> str:
    """Return what a person would type for this step alone."""
    return shlex.join(["inv", *call.argv])
