"""Work spread over processes with the same results in the same order, whatever their number."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from sftplay.errors import MachineError

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH_IT = 50_000_000  # bytes of input: below that, starting processes costs more than it saves
_PR_SET_PDEATHSIG = 1  # prctl(2)


def worker_count(asked: int | None, size: int) -> int:
    """Return how many processes for `size` bytes of input; 1 means in this process.

    `asked` is the setting, None for auto.
    """
    if asked is not None:
        return asked
    return 1 if size < WORTH_IT else min(8, len(os.sched_getaffinity(0)))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, *, apart: bool = False
) -> Generator[Result, None, None]:
    """Map a function over items by `workers` processes: results in the order of the items, few of
    them waiting at a time.

    Items and results travel through pipes. A failure in a worker is raised here; closing the
    generator (contextlib.closing, where the loop may be left early) ends the workers.

    Args:
        apart: never in this process, not even with one worker: for libraries that start threads,
            which a later fork loses.

    Raises:
        MachineError: a worker was killed, most likely for memory (69).
    """
    if workers <= 1 and not apart:
        yield from map(function, items)
        return
    # fork: workers start in milliseconds and nothing is imported again; they run Python code and
    # orjson, no threads
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_settle, initargs=(os.getpid(),)
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise MachineError(
            "a worker process was killed",
            todo="most likely for memory: try again with --set data.workers=1",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _settle(parent: int) -> None:
    """Prepare a new worker: leave signals to the parent, and end with it however it ends."""
    for signum in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # a terminal sends them to the whole group
        signal.signal(signum, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it could be asked for a signal
        os._exit(1)
