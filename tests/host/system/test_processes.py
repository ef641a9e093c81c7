import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sftplay.host.system import processes


@pytest.fixture
def listening() -> "socket.socket":
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server  # type: ignore[misc]


def test_a_process_is_itself_until_it_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    first = processes.identify(child.pid)
    assert first is not None and processes.identify(child.pid) == first and first.is_running()
    child.stdin.close()  # type: ignore[union-attr]
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert (
        processes.identify(child.pid) is None and not first.is_running()
    )  # ended, and not collected yet
    child.wait()
    assert processes.identify(child.pid) is None


def test_a_process_whose_first_thread_is_over_has_not_ended_yet() -> None:
    """It is shown as a zombie then, and still holds its locks and ports."""
    program = (
        "import ctypes, os, sys, threading\n"
        "def wait(): sys.stdin.read(); os._exit(0)\n"
        "threading.Thread(target=wait).start()\n"
        "print(flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()  # type: ignore[union-attr]
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert processes.identify(child.pid) is not None
    child.stdin.close()  # type: ignore[union-attr]
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.identify(child.pid) is None
    child.wait()


def test_two_processes_are_never_the_same() -> None:
    mine = processes.identify(os.getpid())
    assert mine is not None and mine != processes.identify(os.getppid())
    assert not replace(
        mine, started=mine.started - 60
    ).is_running()  # an earlier process of the same number
    assert replace(mine, started=mine.started + 1).is_running()  # the clock was set


def test_the_owner_of_a_port_is_found(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    assert processes.listener(port) == os.getpid()
    assert not processes.is_free(port)
    assert "py" in processes.name_of(os.getpid())
    free = processes.next_free(port)
    assert free is not None and free > port and processes.is_free(free)


def test_a_port_that_nobody_has_has_no_owner(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    listening.close()
    assert processes.listener(port) is None


def test_the_users_of_a_folder_are_found(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.symlink_to(sys.executable)
    assert processes.users_of(tmp_path) == []
    words = [str(program), "-c", "print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()  # it runs
        assert processes.users_of(tmp_path) == [child.pid]
        child.communicate(b"\n")
