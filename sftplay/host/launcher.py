"""Training on this machine: started under a supervisor, watched from here, found again by the next launcher.

Everything is read from lock and records, nothing is kept in memory alone, so a launcher that is killed at any moment and started
again goes on: it watches the training that still runs, tells the end of one that ended meanwhile, and never starts a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from sftplay import console
from sftplay.errors import BusyError, NotFoundError
from sftplay.host import records, supervise
from sftplay.host.envs import Environment
from sftplay.host.local import CHECKOUT, Call, explain_end
from sftplay.host.records import Start
from sftplay.locks import acquire, hold, is_held
from sftplay.runs import Run

GRACE = 120.0  # seconds that a stage has for its checkpoint after the first stop
_TAIL = 4096  # bytes of earlier output shown when a launcher comes back
_POLL = 0.1


def train(run: Run, call: Call, environment: Environment, env: Mapping[str, str], *, grace: float = GRACE) -> int:
    """Train to the end, or go on watching the training that this command started before.

    Returns:
        The stage's exit code; 129 where this terminal was closed and the training goes on.

    Raises:
        BusyError: another launcher, or a training with other arguments, holds the run (75).
        RefusedError: the run has begun already and `--resume` was not given (76).
    """
    resume = "--resume" in call.options
    if resume and not run.folder.is_dir():
        raise NotFoundError(
            f"there is no run {run.name} to resume",
            where=str(run.folder),
            todo="start it: the same command without --resume",
        )
    if not resume and not records.newest(run.launch):
        run.refuse_second_start()
    with hold(run.launch / "terminal.lock", who="a launcher", todo="that terminal shows it; or use another run name"):
        lock = _take_lock(run)
        if lock is None:
            return _watch(run, _running(run, call), Wishes(), tail=True)
        try:
            code = _settle(run, call, grace)
            if code is not None:
                return code
            if not resume:
                run.refuse_second_start()
            start = records.new_start(
                run.launch,
                call.argv,
                stack=environment.stack,
                runner="local",
                environment_hash=environment.environment_hash,
            )
            wishes = Wishes()  # from here on Ctrl-C is for the stage
            supervisor = _spawn(run, start, lock, environment, env, grace)
        finally:
            os.close(lock)  # the supervisor has its own copy: the lock goes over to it without a gap
        return _watch(run, start, wishes, supervisor=supervisor)


def _take_lock(run: Run) -> int | None:
    """The launch lock, or None where a supervisor has it."""
    try:
        return acquire(run.launch_lock, who="a launcher")
    except BusyError:
        return None


def _running(run: Run, call: Call) -> Start:
    """The start that runs now, if it is the one that this command would make."""
    start = records.newest(run.launch)
    if start is None or not _same(start.argv, call.argv):
        shown = f": {' '.join(start.argv)}" if start else ""
        raise BusyError(
            f"a training with other arguments runs here{shown}",
            where=str(run.folder),
            todo="wait for it, or repeat its own command to watch it; or use another run name: --run NAME",
        )
    console.info(f"this training runs already (started {start.created}): watching it")
    return start


def _settle(run: Run, call: Call, grace: float) -> int | None:
    """Tell the end of the last start where nobody was told; its code where this command asked for just that."""
    start = records.newest(run.launch)
    if start is None or records.seen_file(run.launch, start.number).exists():
        return None
    end = records.read_exit(run.launch, start)
    if end is None:
        _wait_for_trainer(run, grace)
        end = records.write_exit(run.launch, start, code=None, asked="")
    _show_tail(records.output_file(run.launch, start.number))
    _mark_seen(run, start)
    if end.code is None:
        console.warning(f"the training started {start.created} was cut off; its last whole checkpoint is good")
        return None
    console.info(f"the training started {start.created} ended meanwhile ({end.ended}) with code {end.code}")
    wanted = _same(start.argv, call.argv) and (end.code == 0 or "--resume" not in call.options)
    return end.code if wanted else None


def _wait_for_trainer(run: Run, grace: float) -> None:
    """A stage whose supervisor was killed is saving its checkpoint: let it."""
    deadline = time.monotonic() + grace
    if is_held(run.run_lock):
        console.info("the training's supervisor was killed; the stage saves a checkpoint: waiting for it")
    while is_held(run.run_lock) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _spawn(
    run: Run, start: Start, lock: int, environment: Environment, env: Mapping[str, str], grace: float
) -> subprocess.Popen[bytes]:
    """Start the supervisor in its own session, with the lock."""
    command = [str(environment.python), "-m", "sftplay", *start.argv]
    terminal = {"SFTPLAY_TERMINAL": str(os.get_terminal_size(2).columns)} if os.isatty(2) else {}
    argv = [sys.executable, "-m", "sftplay.host.supervise", str(records.start_file(run.launch, start.number))]
    held_back = {supervise.STOP, supervise.KILL}
    with open(records.output_file(run.launch, start.number), "ab") as output:
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, held_back
        )  # inherited: no stop is lost before it can be heard
        try:
            return subprocess.Popen(
                [*argv, str(lock), str(grace), *command],
                env={**env, **terminal, "SFTPLAY_NONCE": start.nonce, "PYTHONPATH": str(CHECKOUT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[lock],
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Wishes:
    """Signals to this launcher: the first stop goes to the stage, the second ends it, a closed terminal lets go."""

    def __init__(self) -> None:
        self.stops: list[int] = []
        self.hung_up = False
        self._before = {s: signal.signal(s, self._on) for s in (signal.SIGINT, signal.SIGTERM)}
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on)

    def _on(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGHUP:
            self.hung_up = True
        else:
            self.stops.append(signum)

    def restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)


def _watch(
    run: Run, start: Start, wishes: Wishes, *, supervisor: subprocess.Popen[bytes] | None = None, tail: bool = False
) -> int:
    """Copy the stage's output to this terminal until its end, and pass on what the person wants."""
    passed_on = 0
    try:
        with open(records.output_file(run.launch, start.number), "rb") as log:
            if tail:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
            while True:
                over = not is_held(run.launch_lock)  # asked before the last look at the log: nothing is missed
                while piece := log.read(1 << 16):
                    _copy(piece)
                if over:
                    break
                if wishes.hung_up:
                    return 128 + signal.SIGHUP
                if len(wishes.stops) > passed_on:
                    passed_on += 1
                    _ask(run, supervisor, passed_on)
                time.sleep(_POLL)
        if supervisor is not None:
            supervisor.wait()
        return _told(run, start, wishes.stops)
    finally:
        wishes.restore()


def _ask(run: Run, supervisor: subprocess.Popen[bytes] | None, count: int) -> None:
    if count == 1:
        console.warning(f"stopping: up to {GRACE:.0f} s for a checkpoint; once more to end it now")
    pid = supervisor.pid if supervisor is not None else _holder(run.launch_lock)
    if pid is not None and is_held(run.launch_lock):  # who holds the lock lives, so the number is still its own
        os.kill(pid, supervise.STOP if count == 1 else supervise.KILL)


def _told(run: Run, start: Start, stops: Sequence[int]) -> int:
    """The end for the person and for the shell."""
    end = records.read_exit(run.launch, start)
    if end is None:
        console.error("the supervisor of this training was killed, or could not write how it ended")
        console.info("next: the same command tells what is left, with --resume it goes on")
        return 70
    _mark_seen(run, start)
    code = end.code if end.code is not None else 70
    if end.asked == "kill":
        console.warning("ended at once; what was saved before is whole: --resume goes on from there")
        return 130
    if code == 143 and stops and stops[0] == signal.SIGINT:
        return 130
    explain_end("train", code)
    return code


def _holder(lock: Path) -> int | None:
    """Process that signed the lock, once it is the supervisor."""
    for _ in range(50):
        try:
            note = json.loads(lock.read_bytes())
        except (OSError, ValueError):
            note = {}
        if note.get("who") == supervise.WHO:
            return int(note["pid"])
        time.sleep(_POLL)
    return None


def _show_tail(path: Path) -> None:
    if path.is_file():
        _copy(path.read_bytes()[-_TAIL:].rpartition(b"\r")[2])


def _copy(piece: bytes) -> None:
    """Byte for byte to the terminal; where it is gone, the training goes on all the same."""
    try:
        while piece:
            piece = piece[os.write(2, piece) :]
    except OSError:
        pass  # EIO or EPIPE: nobody reads; the log holds it


def _mark_seen(run: Run, start: Start) -> None:
    records.seen_file(run.launch, start.number).touch()


def _same(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two command lines ask for the same training, begun or resumed."""
    return [word for word in one if word != "--resume"] == [word for word in other if word != "--resume"]
