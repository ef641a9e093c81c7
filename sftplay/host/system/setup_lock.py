"""One set-up at a time: who comes second waits, also for the uv or pip of a process that was killed.

Standard library and kernel files only.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sftplay import console


@contextmanager
def one_at_a_time(path: Path, doing: str) -> Iterator[IO[str]]:
    """Hold a lock, after its holder if there is one. Yields the lock, for `run_step`.

    Args:
        doing: what the other process does, for the line that says so: `making cpu-0123`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.info(f"another process is {doing}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def run_step(argv: Sequence[str], env: Mapping[str, str], lock: IO[str]) -> int:
    """Run a step of a set-up. Returns its exit code.

    Its stdin is the lock: it and all that it starts keep others out, also when this process is
    killed.
    """
    return subprocess.run(list(argv), env=dict(env), stdin=lock, check=False).returncode
