"""Code for Ray's workers: the actor of one experiment, and a look at a node. Ray sends this
module's code to the nodes, so it imports the standard library and Ray alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_POLL = 0.2
_OWN = ("OMP_NUM_THREADS", "PYTHONPATH")  # set by Ray for its workers, not for a training


def node_name() -> str:
    """Return the name that the agent of this node was started with."""
    return os.environ.get("SFTPLAY_NODE") or socket.gethostname()


class ExperimentActor:
    """Holds the resources of one experiment while its command runs under a guard.

    Args:
        job: see guard.Guard, without where; env holds what the driver adds to this node's.
        guard: words that start the guard in this Python.
    """

    def __init__(self, job: Mapping[str, Any], guard: Sequence[str]) -> None:
        import ray

        gpus = ",".join(str(number) for number in ray.get_gpu_ids())
        node = node_name() + (f" GPU {gpus}" if gpus else "")
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("RAY_") and key not in _OWN
        }
        env = {**inherited, **job["env"], "SFTPLAY_NODE": node}
        self._guard = subprocess.Popen(
            [sys.executable, *guard],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._guard.stdin is not None
        line = json.dumps({**job, "env": env, "where": f"ray on {node}"})
        self._guard.stdin.write(line.encode() + b"\n")
        self._guard.stdin.flush()
        threading.Thread(target=self._follow, args=(os.getppid(),), daemon=True).start()

    def _follow(self, parent: int) -> None:
        """Leave when the guard has ended, or Ray's daemon on this node is gone: workers outlive it
        otherwise, and the guard would not notice.
        """
        assert self._guard.stdout is not None
        while os.getppid() == parent:
            if select.select([self._guard.stdout], [], [], _POLL)[0]:
                break
        os._exit(0)


def look_at_node(folder: str, nonce: str, files: Sequence[str]) -> dict[str, Any]:
    """Look at what an experiment needs on this node.

    Args:
        folder: of the project. nonce: names the files of this look, in the project's folder
            `outputs`; the driver holds the lock and has written the note.
        files: programs that have to be here.
    """
    outputs = Path(folder) / "outputs"
    found: dict[str, Any] = {
        "node": node_name(),
        "uid": os.geteuid(),
        "time": time.time(),
        "missing": [name for name in files if not os.access(name, os.X_OK)],
        "shared": False,
        "got_lock": False,
        "renamed": False,
        "room": 0,
    }
    with contextlib.suppress(OSError):
        found["shared"] = (outputs / f".ray-{nonce}.note").read_text() == nonce
        found["room"] = shutil.disk_usage(outputs).free
        found["got_lock"] = _locks(outputs / f".ray-{nonce}.lock")
        temporary = outputs / f".ray-{nonce}.tmp-{os.getpid()}"
        temporary.write_text(nonce)
        temporary.replace(outputs / f".ray-{nonce}.from-{node_name()}")
        found["renamed"] = True
    return found


def _locks(path: Path) -> bool:
    with open(path, "rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
