"""The lock of a run's launch: held from the decision to start a training until its end is written
down.
"""

from __future__ import annotations

import os
from types import TracebackType

from sftplay.errors import BusyError
from sftplay.locks import acquire
from sftplay.runs import Run


class LaunchLock:
    """The lock's descriptor.

    A supervisor inherits it, and the launcher then lets go of its own copy.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._released = False

    @classmethod
    def take(cls, run: Run) -> LaunchLock | None:
        """Take the lock; None where a supervisor holds it."""
        try:
            return cls(acquire(run.launch_lock, who="a launcher"))
        except BusyError:
            return None

    def release(self) -> None:
        """Close the descriptor, once."""
        if not self._released:
            self._released = True
            os.close(self.fd)

    def __enter__(self) -> LaunchLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
