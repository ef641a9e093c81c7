"""`python -m sftplay.host.local.supervisor START_FILE LOCK_FD GRACE COMMAND…`: keeps one training,
in a session of its own.

A closed terminal or a killed launcher does not reach it. It holds the run's launch lock from before
the stage begins until after its end is written down, so whoever comes next reads the state from
lock and record alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from sftplay import locks
from sftplay.errors import SftplayError
from sftplay.host.protocol import records
from sftplay.host.system.parent import follow_parent

WHO = "the supervisor of a training"
STOP, KILL = signal.SIGTERM, signal.SIGINT  # what the launcher sends: stop in good order; end now
_WRITE_TRIES = 60


class Supervisor:
    """One stage and the requests about it that arrive as signals."""

    def __init__(self, command: Sequence[str], output: Path, grace: float) -> None:
        self.command, self.output, self.grace = list(command), output, grace
        self.asked = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._deadline: float | None = None

    def run(self) -> int:
        """Start the stage, wait for its end, leave nothing of it behind.

        Returns:
            Its exit code, 128 + signal where one ended it.
        """
        for signum in (STOP, KILL):
            signal.signal(signum, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # The launcher started this process with both held back, so that none was lost before these
        # handlers stood.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {STOP, KILL})

        def in_child() -> None:
            os.setpgid(0, 0)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)

        with open(self.output, "ab") as out:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # a killed supervisor: the stage saves and leaves
                preexec_fn=follow_parent(signal.SIGTERM, in_child),  # noqa: PLW1509 - no threads
            )
        if self.asked:  # a request that came before there was a stage
            self._child.send_signal(signal.SIGKILL if self.asked == "kill" else signal.SIGTERM)
        return self._wait(self._child)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                returncode = child.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if self._deadline is not None and time.monotonic() > self._deadline:
                    self._kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # data loaders that outlived it
        return 128 - returncode if returncode < 0 else returncode

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == KILL:
            self.asked = "kill"
            self._kill()
        elif not self.asked:  # a scheduler signals this process too, not only the launcher
            self.asked = "stop"
            self._deadline = time.monotonic() + self.grace
            if self._child is not None:
                self._child.send_signal(signal.SIGTERM)

    def _kill(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)


def main(argv: Sequence[str]) -> int:
    """Supervise one start; its end is written before the lock is let go."""
    start_file, lock, grace, *command = argv
    os.set_inheritable(int(lock), False)
    locks.sign(int(lock), WHO)
    path = Path(start_file)
    start = records.read_start(path)
    records.keep_room(path.parent, start.number)
    supervisor = Supervisor(command, records.output_file(path.parent, start.number), float(grace))
    code = supervisor.run()
    for _ in range(_WRITE_TRIES):
        try:
            records.write_exit(path.parent, start, code=code, asked=supervisor.asked)
            return 0
        except SftplayError:  # the disk is full: a person may make room
            time.sleep(1)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
