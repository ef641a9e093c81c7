"""SIGINT and SIGTERM while training: the first saves and leaves at the next step's end, the second
leaves now.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from sftplay import console


class Interrupt:
    """Remembers that a person (or an engine) asked for the end.

    Installed around the training loop only.
    """

    def __init__(self) -> None:
        self.signum = 0

    def install(self) -> None:
        """Take over SIGINT and SIGTERM; a closed terminal (SIGHUP) does not end a run."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def heard_of(self, signums: list[int]) -> None:
        """Stop too, where another rank was asked to: all of them save the same step.

        Args:
            signums: what each rank received; 0: nothing.
        """
        asked = [(signum, rank) for rank, signum in enumerate(signums) if signum]
        if asked and not self.signum:
            self.signum, rank = asked[0]
            console.warning(f"stopping: rank {rank} was asked to; saving a checkpoint")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum:
            os._exit(128 + signum)  # at once: every file that counts is written atomically
        self.signum = signum
        console.warning("stopping: saving a checkpoint after this step; once more to leave now")
