"""`inv ps`, `inv status` and `inv stop-serve` see a server by its lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from datetime import datetime
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
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    began = time.time()
    with subprocess.Popen([sys.executable, "-c", SERVER, str(lock)], env=env) as server:
        wait_until(lambda: lock.exists() and lock_holder(lock) == server.pid, "its lock")
        seen = time.time()
        listed = run_task("ps").stdout
        assert "127.0.0.1:8000" in run_task("status").stdout
        if name:
            assert run_task("stop-serve", "other").returncode == 66
        end = run_task("stop-serve", *([name] if name else []))
        assert end.returncode == 0 and "is stopped" in end.stderr, end.stderr
        assert server.wait(timeout=10) == 0
    line = rf"^serve +{name or '-'} +local +- +(20\d\d-\S+) +running +process {server.pid}$"
    found = re.search(line, listed, re.MULTILINE)
    assert found is not None, listed
    since = datetime.fromisoformat(found[1]).timestamp()
    assert began - 5 <= since <= seen + 5  # in UTC, as it says
    assert "no server" in run_task("stop-serve").stderr
