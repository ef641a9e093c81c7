"""`inv ps`, `inv status` and `inv stop-serve` see a server by its lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.runs.running import serve_lock
from sftplay.host.system.processes import lock_holder
from tests.host.conftest import RunTask
from tests.host.runfolders import write_run
from tests.host.standin import wait_until

# What a server does about its lock and SIGTERM.
SERVER = """
import signal, sys, time
from pathlib import Path
from sftplay.locks import hold
def stop(signum, frame):
    time.sleep(0.5)  # an answer ends
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with hold(Path(sys.argv[1]), who="serving on 127.0.0.1:8000"):
    signal.pause()
"""


@pytest.mark.parametrize("name", ["served", ""])
def test_a_server_is_listed_and_stopped(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, run_task: RunTask, name: str
) -> None:
    """One of a run, and one of a base alone."""
    monkeypatch.chdir(checkout)
    write_run("served")
    lock = serve_lock(name)
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    with subprocess.Popen([sys.executable, "-c", SERVER, str(lock)], env=env) as server:
        wait_until(lambda: lock.exists() and lock_holder(lock) == server.pid, "its lock")
        listed = run_task("ps").stdout
        assert re.search(
            rf"^serve +{name or '-'} +local +- +20\d\d-\S+ +running +process {server.pid}$",
            listed,
            re.MULTILINE,
        )
        assert "127.0.0.1:8000" in run_task("status").stdout
        if name:
            assert run_task("stop-serve", "other").returncode == 66
        end = run_task("stop-serve", *([name] if name else []))
        assert end.returncode == 0 and "is stopped" in end.stderr, end.stderr
        assert server.wait(timeout=10) == 0
    assert "no server" in run_task("stop-serve").stderr
