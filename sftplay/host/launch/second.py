"""A second launcher of one run: it shows the training that the first one starts, and leaves
everything else to it.
"""

from __future__ import annotations

from sftplay import console
from sftplay.errors import BusyError
from sftplay.host.containers import training as container_training
from sftplay.host.launch.request import ResolvedLaunch
from sftplay.host.launch.runner import RunningTraining
from sftplay.host.local import training as local_training
from sftplay.host.protocol import records
from sftplay.host.protocol.call import describe, same_training
from sftplay.host.protocol.records import Start
from sftplay.host.protocol.signals import StopSignals
from sftplay.locks import acquire


def take_terminal(launch: ResolvedLaunch, signals: StopSignals) -> tuple[int | None, int]:
    """Become the run's only launcher; while another one is, show the training that it starts.

    Returns:
        The lock's descriptor, None if a person stopped looking before that; and the number of the
        start whose end is this launcher's too, 0 for none.

    Raises:
        BusyError: the other one trains with other arguments (75).
    """
    first, waited, watched = _newest(launch) + 1, False, False
    waiting = "another terminal holds this run: waiting for what it starts"
    watching = (
        "another terminal watches this training: watching it too;"
        " Ctrl-C here stops it, closing this terminal does not"
    )
    while (held := _acquire(launch)) is None:
        if signals.hung_up or (signals.stops and not watched):
            return None, 0
        start = records.newest(launch.run.launch)
        training = _running(launch, start) if start is not None else None
        if not waited or (training is not None and not watched):
            console.info(waiting if training is None else watching)
        waited = True
        if start is not None and training is not None:
            first, watched = min(first, start.number), True
            if training.watch(signals) is None:
                return None, 0
    start = records.newest(launch.run.launch)
    theirs = waited and start is not None and start.number >= first
    if theirs and start is not None and same_training(start.argv, launch.call):
        return held, start.number
    return held, 0


def refuse_others(launch: ResolvedLaunch, start: Start | None) -> None:
    """Raise BusyError (75) where this start is not of the training that is asked for."""
    if start is None or not same_training(start.argv, launch.call):
        shown = f": {describe(start.argv)}" if start else ""
        raise BusyError(
            f"a training with other arguments runs here{shown}",
            where=str(launch.run.folder),
            todo="wait for it, or repeat its own command to watch it; or use another run name: --run NAME",
        )


def _acquire(launch: ResolvedLaunch) -> int | None:
    try:
        return acquire(launch.run.launch / "terminal.lock", who="a launcher")
    except BusyError:
        return None


def _newest(launch: ResolvedLaunch) -> int:
    start = records.newest(launch.run.launch)
    return start.number if start else 0


def _running(launch: ResolvedLaunch, start: Start) -> RunningTraining | None:
    """Return the training of this start if it runs now. Nothing is harvested or written: the other
    launcher does.
    """
    if records.read_exit(launch.run.launch, start) is not None:
        return None
    if start.runner == "docker":
        if not container_training.is_there(launch.engine(), launch.run, start):
            return None
        refuse_others(launch, start)
        return container_training.adopt(launch.engine(), launch.run, start)
    if not local_training.is_supervised(launch.run):
        return None
    refuse_others(launch, start)
    return local_training.LocalTraining(launch.run, start)
