"""What a person wants while a training is watched: signals to the launcher, and its output on their terminal."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from types import FrameType

_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])"
)  # colours, cursor, window title
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


def copy(piece: bytes, to: int = 2) -> bool:
    """Byte for byte to the terminal; False where it is gone (the work goes on, and a log holds it)."""
    try:
        while piece:
            piece = piece[os.write(to, piece) :]
    except OSError:
        return False
    return True


def settled(content: bytes) -> str:
    """Earlier output as text, for whoever looks at it later: without colours, and of a progress bar its last state."""
    lines = _CONTROL.sub("", content.decode("utf-8", "replace")).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def same_training(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two command lines ask for the same training: begun, resumed or handed over."""
    return asked_for(one) == asked_for(other)


def asked_for(argv: Sequence[str]) -> list[str]:
    """A command line without what the launcher adds, and without --resume."""
    return [word for word in argv if word != "--resume" and not word.startswith(("--handed-over-from=", "--attempt="))]
