"""Locks by flock: freed by the kernel when the holder dies, so there is never a stale lock to
delete by hand.

The content of a lock file is information for the message only; PIDs mean nothing across containers.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sftplay.errors import BusyError, SftplayError
from sftplay.files import explain_os_error
from sftplay.untrusted import parse_json, read_bytes

_NOTE = 4096  # bytes
_PAUSES = (0.001, 0.004, 0.02, 0.05, 0.1, 0.15)  # seconds


@contextmanager
def hold(
    path: Path,
    *,
    who: str,
    what: str = "this run",
    todo: str = "wait for it to end, or use another run name",
) -> Iterator[None]:
    """Hold `path` exclusively or raise BusyError (75) that names the holder.

    Args:
        path: the lock file; made where missing, never removed.
        who: what the holder is, for the other side's message ("train 01-bnb").
        what: what the lock protects, for the message.
    """
    fd = acquire(path, who=who, what=what, todo=todo)
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def share(path: Path) -> Iterator[None]:
    """Hold `path` together with others, so that `hold` by somebody else is refused meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise explain_os_error(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def acquire(path: Path, *, who: str, what: str = "this run", todo: str = "") -> int:
    """Lock `path` as `hold` does and return the file descriptor. The lock lasts until its last copy
    is closed, so a child that inherits the descriptor takes the lock over without a gap.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise explain_os_error(error, path) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise explain_os_error(OSError(errno.ENXIO, "not a regular file"), path)
    if not _lock(fd):
        holder = _holder(fd)
        os.close(fd)
        raise BusyError(
            f"another process holds {what} ({holder})", where=str(path.parent), todo=todo
        )
    try:
        sign(fd, who)
    except OSError as error:  # a full disk
        os.close(fd)
        raise explain_os_error(error, path) from error
    return fd


def _lock(fd: int) -> bool:
    """Try to lock; return True if that worked.

    Somebody who only looks (`is_held`) has it for a moment: that is waited for.
    """
    for pause in (*_PAUSES, None):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if pause is not None:
                time.sleep(pause)
    return False


def sign(fd: int, who: str) -> None:
    """Leave a note in a lock file that this process holds."""
    note = {
        "who": who,
        "pid": os.getpid(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(note).encode(), 0)


def is_held(path: Path) -> bool:
    """True if somebody holds `path` now (a look, not a reservation)."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(
            fd, fcntl.LOCK_SH | fcntl.LOCK_NB
        )  # shared: two that look do not take each other for a holder
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _holder(fd: int) -> str:
    note = _note_in(os.pread(fd, _NOTE, 0))
    if not {"who", "pid", "since"} <= set(note):
        return "it left no note"
    return f"{note['who']}, process {note['pid']} on this machine, since {note['since']}"


def read_note(path: Path) -> dict[str, Any]:
    """Read what the holder wrote into a lock file; {} where that can't be read."""
    try:
        return _note_in(read_bytes(path, _NOTE))
    except SftplayError:
        return {}


def _note_in(content: bytes) -> dict[str, Any]:
    try:
        note = parse_json(content)
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}
