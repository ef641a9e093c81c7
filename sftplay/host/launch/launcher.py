"""One training, in whatever runner: started, watched, found again, handed over once. The algorithm that survives being killed.

Everything is read from locks, labels and records, nothing is kept in memory alone, so a launcher that is killed at any moment and
started again goes on: it watches the training that still runs, harvests one that ended, does the hand-over that was due, and never
starts a second training. Each turn of the loop looks anew; `decide` says what follows from what it saw.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from sftplay import console
from sftplay.errors import BusyError, NotFoundError, ProtocolError, SftplayError
from sftplay.handover import HandOver
from sftplay.host.containers import errors as engine_errors
from sftplay.host.containers import training as container_training
from sftplay.host.launch import messages, observe, preflight
from sftplay.host.launch.decide import Begin, Facts, Finish, decide
from sftplay.host.launch.runner import Order
from sftplay.host.local import training as local_training
from sftplay.host.protocol import records
from sftplay.host.protocol.call import asked_for, same_training
from sftplay.host.protocol.records import Start
from sftplay.host.protocol.signals import Wishes
from sftplay.locks import acquire, hold
from sftplay.runs import Attempt

_TURNS = 8  # of the loop; two starts and what was left behind take four
_HUNG_UP = 128 + signal.SIGHUP


@dataclass
class _Told:
    """What this launcher has seen with its own eyes.

    Attributes:
        number: of the start whose end it watched.
    """

    number: int = 0


def train(order: Order) -> int:
    """Train to the end, or go on watching the training that this command started before.

    Returns:
        The stage's exit code; 129 where this terminal was closed and the training goes on.

    Raises:
        BusyError: another launcher, or a training with other arguments, holds the run (75).
        RefusedError: the run has begun already and `--resume` was not given (76).
        MachineError: no engine, no image, or the engine went away (69).
    """
    run = order.run
    if order.resume and not run.folder.is_dir():
        raise NotFoundError(
            f"there is no run {run.name} to resume",
            where=str(run.folder),
            todo="start it: the same command without --resume",
        )
    if not order.resume and not records.newest(run.launch):
        run.refuse_second_start()
    with hold(run.launch / "terminal.lock", who="a launcher", todo="that terminal shows it; or use another run name"):
        wishes, seen = Wishes(), _Told()
        try:
            for _ in range(_TURNS):
                code = _turn(order, wishes, seen)
                if code is not None:
                    return code
        finally:
            wishes.restore()
    raise ProtocolError("the launcher goes round in circles", where=str(run.launch), todo="please report it")


def _turn(order: Order, wishes: Wishes, seen: _Told) -> int | None:
    """Look, and do one thing. The code to leave with, or None to look again."""
    run = order.run
    lock = _take_lock(order)
    if lock is None:
        return _adopt(order, records.newest(run.launch), wishes, seen)
    with _closing(lock) as own:
        start = observe.in_container(order)
        if start is not None:
            return _adopt(order, start, wishes, seen)
        facts = observe.gather(order, seen.number)
        move = decide(facts, order.settings.backend)
        if isinstance(move, Finish):
            return messages.finish(order, facts, move, wishes)
        if wishes.stops:  # after a stop nothing is started any more
            return 130 if wishes.stops[0] == signal.SIGINT else 143
        return _begin(order, facts, move, own, wishes, seen)


def _adopt(order: Order, start: Start | None, wishes: Wishes, seen: _Told) -> int | None:
    """Watch the training that runs, if it is the one that this command would start."""
    run = order.run
    if start is None or not same_training(start.argv, order.call.argv):
        shown = f": {' '.join(asked_for(start.argv))}" if start else ""
        raise BusyError(
            f"a training with other arguments runs here{shown}",
            where=str(run.folder),
            todo="wait for it, or repeat its own command to watch it; or use another run name: --run NAME",
        )
    console.info(f"this training runs already (started {start.created}, {start.runner} runner): watching it")
    if start.runner == "docker":
        end = container_training.adopt(order.engine(), run, start, wishes)
    else:
        end = local_training.watch(run, start, wishes, tail=True)
    seen.number = start.number
    return _let_go(start) if end is None else None


def _begin(order: Order, facts: Facts, move: Begin, lock: _Lock, wishes: Wishes, seen: _Told) -> int | None:
    run = order.run
    if facts.newest is not None and facts.end is not None and not facts.ours and not facts.told:
        messages.before(order, facts.newest, facts.end, handed=bool(move.handed_from))
    if not order.resume and not move.handed_from:
        run.refuse_second_start()
    attempt = _attempt(order, move)
    if attempt is not None and order.no_gpu and not order.resume:
        seen.number = preflight.refuse(order, attempt).number
        return None
    seat = order.seat(move.backend)  # may install an environment, may find no image: before anything is written
    if move.handed_from and facts.request is not None and isinstance(facts.request, HandOver):
        messages.handed_over(order, facts.request, seat.stack, seat.runner)
    argv = [*move.argv, *([f"--attempt={attempt.number}"] if attempt is not None and not order.resume else [])]
    start = records.new_start(
        run.launch,
        argv,
        stack=seat.stack,
        runner=seat.runner,
        environment_hash=seat.made_of if seat.runner == "local" else "",
        image=seat.made_of if seat.runner == "docker" else "",
        attempt=attempt.name if attempt is not None else "",
    )
    try:
        end = seat.run(run, start, lock.give(), wishes)
    except SftplayError as problem:
        _not_started(order, start, problem)
        raise
    seen.number = start.number
    return _let_go(start) if end is None else None


def _attempt(order: Order, move: Begin) -> Attempt | None:
    """The Unsloth attempt that is started or gone on with: only such may ask to be handed over."""
    if move.backend != "unsloth":
        return None
    attempts = order.run.attempts()
    stamped = [attempt for attempt in attempts if attempt.has_begun]
    if order.resume and stamped:
        attempt = stamped[-1]
    else:
        attempt = order.run.attempt(attempts[-1].number + 1 if attempts else 1, "unsloth")
    with contextlib.suppress(OSError):  # of an earlier start: it would not name this one
        attempt.handover.unlink()
    return attempt


def _not_started(order: Order, start: Start, problem: SftplayError) -> None:
    """A start that the engine refused has ended. Where the engine is gone nobody knows, and the next launcher looks."""
    if not engine_errors.is_gone(problem):
        with contextlib.suppress(SftplayError):
            if records.read_exit(order.run.launch, start) is None:
                records.write_exit(order.run.launch, start, code=problem.code, asked="")
            records.seen_file(order.run.launch, start.number).touch()


def _let_go(start: Start) -> int:
    console.info(f"the terminal is gone, the training goes on in the {start.runner} runner: inv ps shows it")
    return _HUNG_UP


def _take_lock(order: Order) -> int | None:
    """The launch lock, or None where a supervisor has it."""
    try:
        return acquire(order.run.launch_lock, who="a launcher")
    except BusyError:
        return None


class _Lock:
    """A lock's descriptor that somebody else may take over."""

    def __init__(self, fd: int) -> None:
        self.fd: int | None = fd

    def give(self) -> int:
        """From now on it is the receiver's to close."""
        assert self.fd is not None
        fd, self.fd = self.fd, None
        return fd


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[_Lock]:
    lock = _Lock(fd)
    try:
        yield lock
    finally:
        if lock.fd is not None:
            os.close(lock.fd)
