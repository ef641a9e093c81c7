"""Signals: each reaches the stage once, and its code comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from sftplay.host.system.checkout import CHECKOUT

PARENT = """
import os, sys
from sftplay.host.local.runner import run_foreground
child = '''
import os, signal, time
def stop(signum, frame):
    os.write(1, b"child got %d\\\\n" % signum)  # not print: the signal may come while it still writes "ready"
    os._exit(128 + signum)
for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(s, stop)
os.write(1, b"ready\\\\n")
time.sleep(30)
'''
sys.exit(run_foreground([sys.executable, "-c", child], os.environ))
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_task_reaches_the_stage_and_its_code_comes_back(
    signum: signal.Signals,
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    parent.send_signal(signum)
    assert parent.wait(timeout=30) == 128 + signum
    assert parent.stdout.read() == f"child got {int(signum)}\n"
    parent.stdout.close()


def test_ctrl_c_at_a_terminal_reaches_the_stage_once() -> None:
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-c", PARENT],
            {**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1024)
    os.write(terminal, b"\x03")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # the terminal's other side is closed
            break
        if not piece:
            break
        seen += piece
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert seen.count(b"child got 2") == 1
