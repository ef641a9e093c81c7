"""Run meant by a repeated start: one that continues, one that has ended on the same data, or the
next free name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sftplay.config import load_config
from sftplay.errors import SftplayError
from sftplay.host.protocol import records
from sftplay.locks import is_held
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.untrusted import read_json

State = Literal["new", "running", "interrupted", "finished"]


@dataclass(frozen=True)
class MatchingRun:
    """A run and how to continue it.

    Attributes:
        state: `new` has nothing yet, `running` is being trained now, `interrupted` can be resumed,
            `finished` holds weights.
        resume: train it with --resume; a running one as it was started, so that it is watched.
    """

    run: Run
    state: State
    resume: bool = False


def find_run(settings: Settings, data_hash: str) -> MatchingRun:
    """The run that these settings on this data have made, else the first name that is free.

    Looks at <name>, <name>-2, <name>-3 … A run whose files can't be read is passed over, never
    touched.

    Args:
        data_hash: hash of the tokenized train split, as backend.json has it.
    """
    assert settings.run.name is not None  # load_config fills it in
    number, run = 1, Run(settings.run.name)
    while run.has_begun() or (number > 1 and run.folder.exists()):
        if _is_of(run, settings, data_hash):
            return _state(run)
        number += 1
        run = Run(f"{settings.run.name}-{number}")
    return MatchingRun(run, "new")


def _state(run: Run) -> MatchingRun:
    if is_held(run.launch_lock):
        start = records.newest(run.launch)
        return MatchingRun(run, "running", resume=bool(start and "--resume" in start.argv))
    return (
        MatchingRun(run, "finished")
        if run.tuned()
        else MatchingRun(run, "interrupted", resume=True)
    )


def _is_of(run: Run, settings: Settings, data_hash: str) -> bool:
    """Return whether the run was started with these settings, except its name, on this data."""
    try:
        stamped = read_json(run.stamp)["data_hash"]
        same = _nameless(load_config(run.config)) == _nameless(settings)
    except (SftplayError, KeyError, TypeError):
        return False
    return same and stamped == data_hash


def _nameless(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(exclude={"run"})
