"""The front with torch's real agent and ranks that are real processes without torch."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from sftplay.errors import MachineError, SftplayError, StoppedError
from sftplay.model.ranks import agent, meeting
from sftplay.model.ranks.front import Front, RanksError, raise_end
from sftplay.ranks import RankRecord, RanksEnd, RanksPlan, World

ROOT = Path(__file__).resolve().parents[3]
PLAN = RanksPlan("n1", "01-bnb", 1, 2, 2, "none", "sha256:d")


@dataclass
class Forked:
    """A front in a process of its own, without a second import of torch."""

    pid: int
    output: Path

    def wait(self, seconds: float = 60) -> tuple[int, str]:
        """Return its exit code and what it printed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), self.output.read_text()
            time.sleep(0.02)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("the front did not end")


def start(folder: Path, *acts: str) -> Forked:
    pid = os.fork()
    if pid:
        return Forked(pid, folder.with_suffix(".output"))
    code = 99
    try:
        os.setsid()
        output = os.open(folder.with_suffix(".output"), os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["PYTHONPATH"] = str(ROOT)
        code = _lead(folder, acts)
    finally:
        os._exit(code)


def _lead(folder: Path, acts: tuple[str, ...]) -> int:
    command = [sys.executable, "-m", "tests.model.ranks.standin_rank", json.dumps(acts)]
    agent.rank_command = lambda argv, plan: command
    front = Front(folder, World(2), [], meeting.meeting_of(None, None, 1))
    try:
        raise_end(front.run(PLAN), folder)
    except (SftplayError, StoppedError) as error:
        os.write(1, f"{error} {error.todo}".encode())
        return error.code
    return 0


def pids(folder: Path) -> list[int]:
    files = [folder / f"pid-{rank}" for rank in range(2)]
    end = time.monotonic() + 60
    while not all(path.exists() and path.read_text() for path in files):
        assert time.monotonic() < end
        time.sleep(0.02)
    return [int(path.read_text()) for path in files]


def assert_gone(processes: list[int]) -> None:
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in processes):
        assert time.monotonic() < end, "a rank is left"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("acts", "code"),
    [
        (("0", "0"), 0),
        (("wait", "81"), 81),
        (("81", "wait"), 81),
        (("wait", "kill"), 137),
        (("0", "silent"), 70),
    ],
)
def test_the_code_of_the_ranks_is_the_code_of_the_job(
    tmp_path: Path, acts: tuple[str, str], code: int
) -> None:
    ended, said = start(tmp_path, *acts).wait()
    assert ended == code, said
    assert_gone(pids(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["code"], result["nonce"]) == (code, "n1")


def test_a_signal_to_the_front_stops_all_ranks(tmp_path: Path) -> None:
    front = start(tmp_path, "wait", "wait")
    processes = pids(tmp_path)
    time.sleep(0.3)
    os.kill(front.pid, signal.SIGTERM)
    code, said = front.wait()
    assert code == 85, said
    assert_gone(processes)


def test_the_failure_is_said_with_the_advice_of_its_rank(tmp_path: Path) -> None:
    record = RankRecord("n1", 1, 0, 81, 3, 1.0, "own", message="out of GPU memory", todo="halve it")
    with pytest.raises(RanksError, match="rank 1: out of GPU memory") as caught:
        raise_end(RanksEnd(81, record.message, 1, record), tmp_path)
    assert (caught.value.code, caught.value.todo) == (81, "halve it")
    with pytest.raises(StoppedError) as stopped:
        raise_end(RanksEnd(130, "stopped by a signal"), tmp_path)
    assert stopped.value.code == 130
    raise_end(RanksEnd(0, "done"), tmp_path)


def test_a_rank_computes_with_its_share_of_the_cores() -> None:
    found = agent.variables_for(World(2), cores=8, interface=None)
    assert found == {"OMP_NUM_THREADS": "4", "GLOO_SOCKET_IFNAME": "lo"}
    found = agent.variables_for(World(4, 2), cores=2, interface="eth1")
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["GLOO_SOCKET_IFNAME"] == found["NCCL_SOCKET_IFNAME"] == "eth1"


def test_front_and_ranks_meet_on_loopback() -> None:
    place = meeting.meeting_of(None, None, 1)
    assert place.host == "127.0.0.1" and place.port > 1023
    assert meeting.address_of("lo") == "127.0.0.1"
    with pytest.raises(MachineError, match="no interface nosuch0"):
        meeting.address_of("nosuch0")
