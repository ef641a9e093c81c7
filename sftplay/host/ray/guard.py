"""One experiment's command on a node of a Ray cluster, and all that it starts.

Ray's worker starts this program, writes the job as a line of JSON and holds the pipe open. It runs apart from the worker: a node that Ray lost
ends the worker at once, and then this process stops the training, which saves a checkpoint. Nothing
outlives it, so that a run is free when the experiment begins again on another node.

Standard library only: the environment of images/ray.lock has no more.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_POLL = 0.1
_LEFT = 10.0  # seconds for what a command leaves behind


class Guard:
    """A job: argv, folder, env; log, end and stop are files on the shared storage.

    Args:
        job: with grace, the seconds between the stop and the kill, and where, for messages.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        self.stop_file = Path(job["stop"])
        self.lost = False
        self._deadline: float | None = None

    def run(self) -> None:
        """Run the command to its end and write that down, unless Ray lost this node meanwhile."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        with open(self.job["log"], "ab") as log:
            child = subprocess.Popen(
                self.job["argv"],
                cwd=self.job["folder"],
                env=self.job["env"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while (code := _reap(child.pid)) is None:
            self._look(child.pid)
            time.sleep(_POLL)
        self._end_what_is_left()
        if not self.lost:
            _write(Path(self.job["end"]), {"code": code, "where": self.job["where"]})

    def _look(self, child: int) -> None:
        """Stop the command if Ray lost this node or a person asked for it; kill it in the end."""
        if not self.lost and _is_closed(0):
            self.lost = True
        asked = self.lost or self.stop_file.exists()
        if asked and self._deadline is None:
            self._deadline = time.monotonic() + float(self.job["grace"])
            _signal(child, signal.SIGTERM)
        if self._deadline is not None and time.monotonic() > self._deadline:
            for pid in descendants(os.getpid()):
                _signal(pid, signal.SIGKILL)

    def _end_what_is_left(self) -> None:
        """End a training whose launcher crashed: nobody would watch it."""
        for signum, seconds in (
            (signal.SIGTERM, float(self.job["grace"])),
            (signal.SIGKILL, _LEFT),
        ):
            for pid in descendants(os.getpid()):
                _signal(pid, signum)
            deadline = time.monotonic() + seconds
            while descendants(os.getpid()) and time.monotonic() < deadline:
                _reap(0)
                time.sleep(_POLL)


def descendants(pid: int) -> list[int]:
    """Return every process below this one that still runs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _reap(wanted: int) -> int | None:
    """Collect what has ended, orphans too. Returns the exit code of `wanted` if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == wanted:
                code = os.waitstatus_to_exitcode(status)
    return 128 - code if code is not None and code < 0 else code


def _is_closed(fd: int) -> bool:
    """Return whether the worker at the other end of the pipe is gone."""
    if not select.select([fd], [], [], 0)[0]:
        return False
    return os.read(fd, 1) == b""


def _signal(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)


def main() -> int:
    """Guard one job, as a process of its own: Ray kills the children of its workers."""
    if os.fork():
        return 0
    os.setsid()
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            return 1
        line += piece
    Guard(json.loads(line)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
