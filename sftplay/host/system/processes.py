"""Other processes, by /proc: whether one is still the one that we started, and who listens on a port."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_LISTEN = "0A"  # st column of /proc/net/tcp: TCP_LISTEN (Linux, include/net/tcp_states.h)


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that can't be mistaken for a later one of the same number: with its start time and the machine's boot."""

    pid: int
    started: int  # clock ticks since boot
    boot: str


def identify(pid: int) -> ProcessIdentity | None:
    """The process of that number now; None where there is none, or where it has ended and only waits to be collected."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold blanks and brackets
    return None if fields[0] in "ZX" else ProcessIdentity(pid, int(fields[19]), boot)


def name_of(pid: int) -> str:
    """Return a process's command line, shortened."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        return words[:80] or (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "?"


def listener(port: int) -> int | None:
    """The process that listens on a TCP port; None where nobody does, or where it belongs to somebody else."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for entry in PROC.glob("[0-9]*/fd/*") if sockets else ():
        try:
            if str(entry.readlink()) in sockets:
                return int(entry.parts[-3])
        except OSError:
            continue  # ended meanwhile, or not ours
    return None


def is_free(port: int) -> bool:
    """Return whether 127.0.0.1:port can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: a closed connection's rest is no owner
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def next_free(port: int) -> int | None:
    """The first free port after `port`, within fifty."""
    return next((p for p in range(port + 1, min(port + 51, 65536)) if is_free(p)), None)


def users_of(folder: Path) -> list[int]:
    """Processes whose program lies in `folder` (the first word of their command line)."""
    roots = (f"{folder}{os.sep}", f"{folder.absolute()}{os.sep}")
    found = []
    for cmdline in PROC.glob("[0-9]*/cmdline"):
        try:
            if cmdline.read_bytes().split(b"\0")[0].decode(errors="replace").startswith(roots):
                found.append(int(cmdline.parent.name))
        except OSError:
            continue  # ended meanwhile
    return found


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on a port, on any address (Linux, Documentation/networking/proc_net_tcp.rst)."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found
