"""The end of one rank: its record is written whatever happens, and the failure is said by the front
alone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.boundary import write_traceback
from sftplay.errors import ConfigError, HandOverError, MachineError, SftplayError, StoppedError
from sftplay.library_errors import explain_library_error
from sftplay.locks import share
from sftplay.ranks import Cause, RankRecord, RanksPlan, log_file, read_plan, write_record

GRACE = 100  # seconds for a checkpoint after a stop; the launcher kills everything after 120


class RankHandOverError(HandOverError):
    """The backend can't run on this rank; the front writes the request.

    Attributes:
        request: fields of the hand-over.
    """

    def __init__(self, what: str, request: dict[str, Any]) -> None:
        super().__init__(what)
        self.request = request


@dataclass
class RankState:
    """State of a rank while it runs, for its record; the training moves the step on.

    Attributes:
        step: asked for at the end.
    """

    plan: RanksPlan
    folder: Path
    rank: int
    node: int
    step: Callable[[], int] = field(default=lambda: 0)


@contextmanager
def recorded(plan_path: Path, lock: Path) -> Iterator[RankState]:
    """Run one rank; its record is written at the end. One that fails leaves the process at once.

    Args:
        lock: shared by the ranks of a run.

    Raises:
        ProtocolError: started by somebody else than a front (70).
    """
    plan = read_plan(plan_path)
    rank = int(os.environ.get("RANK") or 0)
    state = RankState(plan, plan_path.parent, rank, rank // plan.processes)
    watch_front(os.getppid())
    if rank:
        _redirect(log_file(state.folder, rank))
    with share(lock):
        try:
            yield state
        except (Exception, StoppedError, KeyboardInterrupt) as error:  # noqa: BLE001 - written down
            record = record_of(error, state)
            write_record(state.folder, record)
            console.log(f"rank {rank} ends with {record.code}: {record.error}: {record.message}")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(record.code)  # at once: a lost peer would be waited for in a teardown
        write_record(state.folder, _record(state, 0, "own"))


def watch_front(pid: int, grace: float = GRACE) -> None:
    """End this rank when its front is gone: first in good order, after `grace` seconds at once.

    The agent starts ranks in sessions of their own, so nothing else would end them.
    """

    def watch() -> None:
        while os.getppid() == pid:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=watch, name="front", daemon=True).start()


def _redirect(log: Path) -> None:
    """Send the output of a rank into its own file: one run has one terminal."""
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    os.close(opened)
    os.environ.pop(console.LOG_VARIABLE, None)
    os.environ.pop("SFTPLAY_TERMINAL", None)


def record_of(error: BaseException, state: RankState) -> RankRecord:
    """Return the record of a rank that failed or was stopped."""
    from sftplay.model.ranks.collectives import essence, has_waited, is_lost_peer, is_unready

    if is_unready(error):
        error = _unready()
    if is_lost_peer(error) and not isinstance(error, SftplayError):
        waited = has_waited(error)
        said = "did not answer in time (train.ddp_timeout)" if waited else "is gone"
        return _record(
            state,
            MachineError.code,
            "peer",
            error=type(error).__name__,
            message=f"another rank {said}: {essence(error)}",
            waited=waited,
        )
    if isinstance(error, Exception) and not isinstance(error, SftplayError):
        error = explain_library_error(error, getattr(error, "filename", None) or "?") or error
    if isinstance(error, (SftplayError, StoppedError)):
        stopped = error.code in (85, 130, 143)
        return _record(
            state,
            error.code,
            "signal" if stopped else "own",
            error=type(error).__name__,
            message=error.what,
            where=error.where,
            todo=error.todo,
            handover=error.request if isinstance(error, RankHandOverError) else None,
        )
    if isinstance(error, KeyboardInterrupt):
        return _record(state, 128 + signal.SIGINT, "signal", message="stopped")
    path = write_traceback(f"rank-{state.rank:03d}", error, state.folder.parent)
    return _record(
        state,
        1,
        "own",
        error=type(error).__name__,
        message="a bug in sftplay, or something it does not know: "
        f"{type(error).__name__}: {str(error)[:300]}",
        todo=f"please report it with {path or 'the log of the rank'}",
    )


def _unready() -> ConfigError:
    return ConfigError(
        "a part of this model took no part in a pass on one rank, and the ranks wait for all of it",
        where="train.processes",
        todo="train it with one process: --set train.processes=1",
    )


def _record(state: RankState, code: int, cause: Cause, **said: Any) -> RankRecord:
    return RankRecord(
        nonce=state.plan.nonce,
        rank=state.rank,
        node=state.node,
        code=code,
        step=state.step(),
        time=time.time(),
        cause=cause,
        **said,
    )
