"""Other processes: whether one is still the one that we started, who listens on a port, who runs
from a folder.
"""

from __future__ import annotations

import http.client
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

# seconds: the start is counted from the boot, whose time moves when the clock is set
_SAME_START = 5.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that can't be mistaken for a later one of the same number.

    Attributes:
        started: seconds since 1970.
    """

    pid: int
    started: float

    def is_running(self) -> bool:
        """Return whether this very process still runs."""
        now = identify(self.pid)
        return now is not None and abs(now.started - self.started) < _SAME_START


def identify(pid: int) -> ProcessIdentity | None:
    """Return the process of that number now; None if there is none, or if it has ended and only
    waits to be collected.

    It looks ended while its last threads still run, which hold its locks and ports.
    """
    try:
        process = psutil.Process(pid)
        ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        if ended and process.num_threads() <= 1:
            return None
        return ProcessIdentity(pid, process.create_time())
    except psutil.Error:
        return None


def name_of(pid: int) -> str:
    """Return a process's command line, shortened."""
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline())[:80] or process.name()
    except psutil.Error:
        return "?"


def listener(port: int) -> int | None:
    """Return the process that listens on a TCP port; None if nobody does, or if it belongs to
    somebody else.
    """
    found = psutil.net_connections(kind="tcp")
    owners = (
        one.pid for one in found if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    )
    return next((pid for pid in owners if pid), None)


def is_free(port: int) -> bool:
    """Return whether 127.0.0.1:port can be listened on now."""
    with socket.socket() as probe:
        # As servers do: what is left of a closed connection does not own the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def next_free(port: int) -> int | None:
    """Return the first free port after `port`, within fifty."""
    return next((p for p in range(port + 1, min(port + 51, 65536)) if is_free(p)), None)


def answers(port: int) -> bool:
    """Return whether a web server answers there. A container engine's proxy accepts
    connections before the server does, so only an answer counts.
    """
    link = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=2
    )  # no proxy, whatever the environment says
    try:
        link.request("GET", "/")
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def users_of(folder: Path) -> list[int]:
    """Return the processes whose program lies in `folder` (the first word of their command line)."""
    roots = (f"{folder}{os.sep}", f"{folder.absolute()}{os.sep}")
    commands = (
        (process.pid, process.info["cmdline"]) for process in psutil.process_iter(["cmdline"])
    )
    return [pid for pid, words in commands if words and words[0].startswith(roots)]


def lock_holder(path: Path) -> int | None:
    """Return the process that holds a lock file; None where the kernel does not tell, as for one in
    another process namespace.
    """
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    # 1: FLOCK  ADVISORY  WRITE 12345 fe:00:2442181 0 EOF; waiters have `->` after the number.
    held = (line.split() for line in lines if "->" not in line)
    pids = (int(words[4]) for words in held if words[5].rpartition(":")[2] == str(inode))
    return next((pid for pid in pids if pid > 0 and _has_open(pid, path)), None)


def _has_open(pid: int, path: Path) -> bool:
    """Return whether a process has this very file open: inodes repeat across file systems."""
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return any(_is_same(link, path) for link in links)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # closed meanwhile
        return False
