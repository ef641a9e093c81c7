"""Work by several processes: same order, failures arrive, a killed worker is said, no process
outlives its parent.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sftplay.data.parallel import WORTH_IT, ordered_map, worker_count
from sftplay.errors import DataError, MachineError


def slow_when_even(number: int) -> int:
    time.sleep(0.01 if number % 2 == 0 else 0)
    return number * number


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise DataError("row 7 is bad", where="x.jsonl:7", todo="fix it")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_keep_the_order_of_the_items(workers: int) -> None:
    assert list(ordered_map(slow_when_even, range(30), workers)) == [n * n for n in range(30)]


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_taken_as_needed(workers: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = ordered_map(slow_when_even, items(), workers)
    next(results)
    assert len(taken) <= workers + 2
    results.close()


def test_a_failure_comes_through_with_all_it_says() -> None:
    with pytest.raises(DataError) as caught:
        list(ordered_map(fail_at_seven, range(20), 2))
    assert (caught.value.where, caught.value.todo) == ("x.jsonl:7", "fix it")


def test_a_killed_worker_is_an_error_of_the_machine() -> None:
    with pytest.raises(MachineError, match="killed"):
        list(ordered_map(die_at_three, range(20), 2))


def test_workers_end_with_a_killed_parent() -> None:
    code = """
import os, time
from sftplay.data.parallel import ordered_map
def report(n):
    os.write(1, b'%d\\n' % os.getpid())  # one write: two workers' lines never mix
    time.sleep(60)
list(ordered_map(report, range(2), 2))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_running(pid) for pid in workers)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_small_files_get_no_processes() -> None:
    assert worker_count(None, WORTH_IT - 1) == 1
    assert worker_count(None, WORTH_IT) == min(8, len(os.sched_getaffinity(0)))
    assert worker_count(3, 10) == 3
