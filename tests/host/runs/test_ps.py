"""`inv ps` and `inv stop` see a training that no task started, by its lock."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.system.processes import lock_holder
from sftplay.runs import Run
from tests.host.conftest import RunTask
from tests.host.runfolders import write_run
from tests.host.standin import wait_until

# What a trainer does about its lock and SIGTERM.
TRAINER = """
import signal, sys
from sftplay.locks import hold
from sftplay.runs import Run
run = Run(sys.argv[1])
def stop(signum, frame):
    run.record_event("interrupted", signal=signum)
    sys.exit(85)
signal.signal(signal.SIGTERM, stop)
with hold(run.run_lock, who="a trainer"):
    signal.pause()
"""


def test_a_training_without_a_launcher(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, run_task: RunTask
) -> None:
    monkeypatch.chdir(checkout)
    write_run("alone", finished=False)
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    with subprocess.Popen([sys.executable, "-c", TRAINER, "alone"], env=env) as trainer:
        wait_until(lambda: lock_holder(Run("alone").run_lock) == trainer.pid, "its lock")
        listed = run_task("ps").stdout
        assert re.search(rf"^train +alone .* process {trainer.pid}$", listed, flags=re.MULTILINE)
        end = run_task("stop", "alone")
        assert end.returncode == 0, end.stderr
        assert "its checkpoint is written" in end.stderr
        assert trainer.wait(timeout=10) == 85
    assert "nothing of this project runs" in run_task("ps").stderr
    assert lock_holder(Run("alone").run_lock) is None
