"""The check of a cluster's nodes before anything is started on them: the project's folder is the
same one everywhere, with locks and renames that reach across, and each node has what a stage needs.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import MachineError
from sftplay.host.local import environments
from sftplay.host.ray.connection import RayConnection
from sftplay.host.system.checkout import PROJECT, VENV
from sftplay.places import OUTPUTS

_ROOM = 1 << 30  # bytes that an experiment needs at the least
_SKEW = 5.0  # seconds between two clocks that are not worth a word
_SEEN = 10.0  # seconds for a rename on a node to be seen here


@dataclass(frozen=True)
class LookHere:
    """This machine's part of the look: its user, and when it asked and had every answer."""

    uid: int
    sent: float
    received: float

    def skew(self, clock: float) -> float:
        """Seconds by which a node's clock differs at the least."""
        return max(self.sent - clock, clock - self.received, 0.0)


def check_nodes(connection: RayConnection, runner: str) -> None:
    """Look at every node.

    Args:
        runner: docker: no environment is looked for.

    Raises:
        MachineError: a node is not fit: every reason at once (69).
    """
    nonce, outputs = secrets.token_hex(8), (PROJECT / OUTPUTS).absolute()
    files = [str(VENV / "bin" / "python")]
    if runner != "docker":
        files += [str(environments.ensure(name).python) for name in sorted(_stacks())]
    try:
        (outputs / f".ray-{nonce}.note").write_text(nonce, encoding="utf-8")
        with open(outputs / f".ray-{nonce}.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sent = time.time()
            found = connection.ask("look", folder=str(PROJECT), nonce=nonce, files=files)
            here = LookHere(os.geteuid(), sent, time.time())
        problems = [
            f"{one['node']}: {problem}"
            for one in found
            for problem in find_problems(one, here, _seen(outputs, nonce, one))
        ]
    finally:
        for path in outputs.glob(f".ray-{nonce}.*"):
            path.unlink(missing_ok=True)
    for one in found:
        _warn_of_clock(one, here)
    if problems:
        raise MachineError(
            "the Ray cluster is not fit for this batch: " + "; ".join(problems),
            todo="repair or stop the agents of these nodes, then the same command",
        )


def _stacks() -> frozenset[str]:
    """Stacks of this machine that train."""
    return environments.present() & {"cpu", "bnb", "unsloth"}


def _seen(outputs: Path, nonce: str, found: Mapping[str, Any]) -> bool:
    """Return whether the file that the node renamed is here."""
    path, deadline = outputs / f".ray-{nonce}.from-{found['node']}", time.monotonic() + _SEEN
    while found.get("renamed") and time.monotonic() < deadline:
        if path.exists():
            return True
        time.sleep(0.05)
    return False


def find_problems(found: Mapping[str, Any], here: LookHere, seen: bool) -> Iterator[str]:
    """Return why a node is not fit, in words.

    Args:
        seen: its renamed file is here.
    """
    if "error" in found:
        yield f"it can't be looked at ({found['error']})"
    elif not found["shared"]:
        yield f"{PROJECT} there is not this folder: mount the shared storage at the same path"
    else:
        if found["uid"] != here.uid:
            yield f"its agent runs as user {found['uid']}, this command as {here.uid}: use one user"
        if found["got_lock"]:
            yield "a lock held here does not reach it: mount the file system with locks (NFS: without nolock)"
        if not seen:
            yield "files that it renames are not seen here"
        if found["missing"]:
            yield f"it has no {', '.join(found['missing'])}: the shared environments need the same Python there"
        if found["room"] < _ROOM:
            yield f"only {found['room'] / 1e9:.1f} GB are free"


def _warn_of_clock(found: Mapping[str, Any], here: LookHere) -> None:
    skew = here.skew(found["time"]) if "time" in found else 0.0
    if skew > _SKEW:
        console.warning(
            f"{found['node']}: its clock is {skew:.0f} s off: times in records of its runs are wrong"
        )
