"""SIGINT and SIGTERM while training: the first saves and leaves at the next step's end, the second
leaves now.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from sftplay import console
from sftplay.stops import raise_if_stopped

# Schedulers (Slurm, systemd) signal every process of a job: the stage is told by them and again by
# the process that started it. That is one request, not a person's second one.
_SAME_REQUEST = 5.0  # seconds


class Interrupt:
    """Remembers that a person (or an engine) asked for the end.

    Installed around the training loop only.

    Attributes:
        signum: the signal that came, here or to another rank; 0: none.
        agreed: every rank knows of it, so that all leave after the same step. Only this decides: a
            signal may come at any moment, and the other ranks learn of it after the next step.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.agreed = False
        self._since = 0.0

    def install(self) -> None:
        """Take over SIGINT and SIGTERM; a closed terminal (SIGHUP) does not end a run.

        Raises:
            StoppedError: a stop came before, and a library swallowed it.
        """
        raise_if_stopped()
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def heard_of(self, signums: list[int]) -> None:
        """Stop too, where another rank was asked to: all of them save the same step.

        Args:
            signums: what each rank received; 0: nothing.
        """
        asked = [(signum, rank) for rank, signum in enumerate(signums) if signum]
        self.agreed = bool(asked)
        if asked and not self.signum:
            (self.signum, rank), self._since = asked[0], time.monotonic()
            console.warning(f"stopping: rank {rank} was asked to; saving a checkpoint")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if (
            self.signum == signum == signal.SIGTERM
            and time.monotonic() < self._since + _SAME_REQUEST
        ):
            return
        if self.signum:
            os._exit(128 + signum)  # at once: every file that counts is written atomically
        self.signum, self._since = signum, time.monotonic()
        console.warning("stopping: saving a checkpoint after this step; once more to leave now")
