"""Fencing: a training that has lost its run to another start writes nothing more into it.

Locks of network file systems can be lost while their holder lives: a server that was restarted, an
expired lease, a node that came back after a pause. The next launcher then takes the run, and writes
the next start's record before it starts anything.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sftplay.errors import BusyError, SftplayError, StorageError
from sftplay.handover import NONCE_VARIABLE
from sftplay.locks import is_held
from sftplay.runs import Run
from sftplay.untrusted import read_json

_START = re.compile(r"^start-([0-9]{3,9})\.json$")


def require_own_run(run: Run) -> None:
    """Refuse to write where another start has taken the run, or where its lock is lost.

    Called by the process that trains, which holds the lock or whose front does.

    Raises:
        BusyError: another start is the newest (75). StorageError: nobody holds the lock (74).
    """
    own, newest = os.environ.get(NONCE_VARIABLE, ""), _newest_nonce(run.launch)
    if own and newest and newest != own:
        raise BusyError(
            "another start trains this run now: nothing more is written here",
            where=str(run.launch),
            todo="end this one; the newest start continues",
        )
    if not is_held(run.run_lock) and not is_held(run.ranks_lock):
        raise StorageError(
            "the lock of this run was lost: another training may write it, so nothing more is written here",
            where=str(run.run_lock),
            todo="check the file system and its locks (inv doctor --shared), then: inv train with --resume",
        )


def _newest_nonce(launch: Path) -> str:
    """The nonce in the newest start's record; empty where there is none."""
    numbers = [
        int(match[1]) for path in launch.glob("start-*") if (match := _START.match(path.name))
    ]
    if not numbers:
        return ""
    try:
        return str(read_json(launch / f"start-{max(numbers):03d}.json", nonce=str)["nonce"])
    except SftplayError:  # the launcher says what is wrong with it
        return ""
