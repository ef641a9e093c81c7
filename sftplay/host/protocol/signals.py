"""What a person wants while a training is watched: signals to the launcher, and its output on their terminal."""

from __future__ import annotations

import signal
from types import FrameType

from sftplay import console

GRACE = 120  # seconds between the first stop and the kill: a checkpoint is saved in them


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
        """Give the signals back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)


def say_stopping() -> None:
    """What Ctrl-C does, in both runners."""
    console.warning(f"stopping: up to {GRACE} s for a checkpoint; once more to end it now")
