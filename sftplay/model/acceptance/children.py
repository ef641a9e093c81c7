"""Child processes of an acceptance: started fresh on a GPU, forked from a process that has imported
the libraries on a CPU, where nothing but the imports would take time.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sftplay import isolated

_POLL = 0.05


def import_libraries() -> None:
    """Import what every stage imports, once, so that forks need not."""
    from sftplay.model.runtime.quiet import quiet_libraries

    quiet_libraries()
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401
    import trl  # noqa: F401

    import sftplay.model.train  # noqa: F401


def start(words: Sequence[str], log: Path, *, forked: bool, leader: bool) -> int:
    """Start this Python with these arguments: `-m MODULE …` of sftplay, or a script. Returns the
    process.

    Args:
        log: file for its output.
        leader: it begins a group of its own, which `end` ends as a whole.
    """
    if not forked:
        with open(log, "wb") as out:
            child = subprocess.Popen(
                isolated.command(words[1]) + list(words[2:])
                if words[0] == "-m"
                else [sys.executable, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=leader,
            )
        child.returncode = 0  # collected by `wait`, not when the object goes
        return child.pid
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        if leader:
            os.setsid()
        out_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for number in (1, 2):
            os.dup2(out_fd, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _run(words)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait(pid: int, seconds: float | None = None) -> int | None:
    """Return the exit code of a child; None if it has not ended after so many seconds."""
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
        if until is not None and time.monotonic() >= until:
            return None
        time.sleep(_POLL)


def end(pid: int) -> None:
    """Kill a child with everything that it has started, and collect it."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended meanwhile
    wait(pid)


def _run(words: Sequence[str]) -> int:
    """Run in this process what a fresh Python would run."""
    if words[0] == "-m" and words[1] == "sftplay":
        from sftplay.cli import main

        return main(list(words[2:]))
    sys.argv = list(words[1:] if words[0] == "-m" else words)
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end_:
        return end_.code if isinstance(end_.code, int) else int(end_.code is not None)
    except Exception:  # noqa: BLE001 - as in a process of its own: a traceback and 1
        import traceback

        traceback.print_exc()
        return 1
    return 0
