"""Proof that a project folder is shared between two machines: locks and renames reach across.

Network file systems may keep locks on each machine (GPFS, NFS without its lock service): then two
trainings could write one run. Both machines run the same command; the first one waits for the other.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sftplay import console
from sftplay.errors import MachineError, SftplayError
from sftplay.files import write_json
from sftplay.places import OUTPUTS
from sftplay.untrusted import read_json

FOLDER = OUTPUTS / ".shared-test"
_WAIT = 120.0  # seconds for the other machine
_POLL = 0.1
T = TypeVar("T")


def run(folder: Path = FOLDER, wait: float = _WAIT) -> int:
    """Take part in the proof as the first or the second machine. Returns 0.

    Raises:
        MachineError: nobody else came, or locks do not reach across (69).
    """
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        other = _announced(folder)
        if other is None and _locked(fd):
            _first(folder, wait)
        else:
            _second(folder, fd, other or _until(lambda: _announced(folder), wait), wait)
    finally:
        os.close(fd)
    console.success(f"{folder.parent} is shared: locks and renames reach both machines")
    return 0


def _announced(folder: Path) -> str | None:
    """Nonce of a first machine that waits now; None where there is none."""
    found = _read(folder / "first.json")
    fresh = found is not None and time.time() - float(found["time"]) < _WAIT
    return str(found["nonce"]) if found is not None and fresh else None


def _first(folder: Path, wait: float) -> None:
    """Hold the lock until the second machine has tried it."""
    nonce = secrets.token_hex(8)
    host = socket.gethostname()
    write_json(folder / "first.json", {"nonce": nonce, "host": host, "time": time.time()})
    console.info(f"waiting up to {wait:.0f} s for the same command on the other machine")
    try:
        answer = _until(lambda: _answer(folder, nonce), wait)
    finally:
        (folder / "first.json").unlink(missing_ok=True)
    _judge(bool(answer["got_lock"]))
    console.info(f"{answer['host']} was refused the lock that {host} held")


def _second(folder: Path, fd: int, nonce: str, wait: float) -> None:
    """Try the lock that the first machine holds, and tell it what happened."""
    got = _locked(fd)
    answer = {"nonce": nonce, "host": socket.gethostname(), "got_lock": got}
    write_json(folder / "second.json", answer)
    _judge(got)
    _until(lambda: _locked(fd) or None, wait)  # freed when the first machine has ended


def _answer(folder: Path, nonce: str) -> dict[str, Any] | None:
    first = _read(folder / "first.json")
    if first is not None and first["nonce"] != nonce:  # two first ones: both hold the lock
        return {**first, "got_lock": True}
    found = _read(folder / "second.json")
    return found if found is not None and found["nonce"] == nonce else None


def _judge(got_lock: bool) -> None:
    if got_lock:
        raise MachineError(
            "both machines got the same lock at the same time: locks stay on each machine here",
            where=str(FOLDER),
            todo="mount the file system with locks (NFS: without nolock or local_lock), or train on one machine",
        )


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(read_json(path, nonce=str))
    except SftplayError:
        return None


def _until(look: Callable[[], T | None], wait: float) -> T:
    """Return what is found, as soon as it is there.

    Raises:
        MachineError: it did not come (69).
    """
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(_POLL)
    raise MachineError(
        "the other machine did not come, or does not see this folder",
        where=str(FOLDER),
        todo="run inv doctor --shared on two machines at the same time, in the same project folder",
    )
