"""Signals to a task while it waits for a stage."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from sftplay import console

GRACE = 120  # seconds between the first stop and the kill: a checkpoint is saved in them
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handle_signals(handler: Callable[[int], None], *signums: signal.Signals) -> Iterator[None]:
    """Call `handler` with the number of each of these signals while the block runs, then restore
    what was there.

    A signal that is ignored stays ignored (nohup, a shell's background job). A handler and not
    SIG_IGN is installed, since children inherit an ignored signal.
    """

    def receive(signum: int, frame: FrameType | None) -> None:
        handler(signum)

    handled = [signum for signum in signums if signal.getsignal(signum) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, receive) for signum in handled}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)


@dataclass
class StopSignals:
    """Signals that a launcher has received: the first stop goes to the stage, the second ends it, a
    closed terminal lets go.
    """

    stops: list[int] = field(default_factory=list)
    hung_up: bool = False

    def receive(self, signum: int) -> None:
        """Take note of a signal."""
        if signum == signal.SIGHUP:
            self.hung_up = True
        else:
            self.stops.append(signum)


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Collect stops and hang-ups instead of ending."""
    received = StopSignals()
    with handle_signals(received.receive, *STOPS):
        yield received


def announce_stop() -> None:
    """Print what the first Ctrl-C does, in both runners."""
    console.warning(f"stopping: up to {GRACE} s for a checkpoint; press Ctrl-C again to end it now")
