"""How the guided run takes a step: its heading, the command a person would type for it, the stage, and its end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from sftplay import console
from sftplay.errors import EXIT_MEANINGS
from sftplay.host.launch import stage
from sftplay.host.system import machine
from sftplay.runs import Run
from sftplay.settings import Settings

STEPS = 8
_STOPPED = (85, 129, 130, 143)


@dataclass(frozen=True)
class Tour:
    """What a quickstart was started with, and the machine it found."""

    config: str
    overrides: tuple[str, ...]
    settings: Settings
    facts: machine.Machine
    asking: bool
    style: str | None


class Ended(Exception):  # noqa: N818 - an end that is explained already, no error
    """Leave with this exit code; what there was to say was said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run_stage(
    tour: Tour, number: int | None, name: str, title: str, options: Sequence[str] = (), target: Run | None = None
) -> None:
    """Run a stage under its heading (none where the step has one already); Ended where it fails."""
    if number is not None:
        head(number, title, command_for(tour, name, target, options))
    run_name = target.name if target else None
    code = stage.start(name, config=tour.config, run=run_name, overrides=tour.overrides, options=options)
    if code in _STOPPED:
        console.warning(f"stopped in {name}; the same command goes on from there")
        raise Ended(code)
    if code:
        console.error(f"quickstart ends here: {name} gave {code} ({EXIT_MEANINGS.get(code, 'unknown')})")
        console.info("next: mend what stands above, then start quickstart again; what is done is not done twice")
        raise Ended(code)


def head(number: int, title: str, command: str = "") -> None:
    """The line that opens a step, and the command that does it alone."""
    console.info(f"── {number}/{STEPS} {title}")
    if command:
        console.info(f"   the command for it: {command}")


def command_for(tour: Tour, name: str, target: Run | None = None, options: Sequence[str] = ()) -> str:
    """What a person would type for this step alone."""
    words = ["inv", name, "--config", tour.config]
    words += ["--run", target.name] if target and target.name != tour.settings.run.name else []
    for override in tour.overrides:
        words += ["--set", override]
    return shlex.join([*words, *options])
