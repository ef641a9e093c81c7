"""Workers of a batch: this process, one stage after the other, or a process for each GPU.

Both start stages as the single tasks do. Several at a time print into files of their own: mixed on
one screen nobody could read them.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sftplay import console, isolated
from sftplay.boundary import Boundary
from sftplay.call import StageCall
from sftplay.host.launch.request import LaunchRequest
from sftplay.host.launch.stage import start
from sftplay.host.protocol.ends import exit_code
from sftplay.host.protocol.hub import inherited
from sftplay.host.protocol.signals import handle_signals

_Result = TypeVar("_Result")
Job = Callable[["Workers"], _Result]  # works with the worker that it is given


class Workers(Protocol):
    """Runs stages, and distributes jobs that run stages."""

    def run_stage(self, call: StageCall) -> int:
        """Run a stage to its end. Returns its exit code."""

    def run_jobs(self, jobs: Mapping[str, Job[Any]]) -> Iterator[Any]:
        """Yield the results of jobs as they come."""

    def stop(self) -> None:
        """Begin no further job."""


def make_workers(slots: Sequence[str | None], runner: str, logs: Path) -> Workers:
    """Return workers for these slots: this process for one, a process for each otherwise."""
    return SequentialWorkers(runner) if len(slots) == 1 else ParallelWorkers(slots, runner, logs)


class SequentialWorkers:
    """One stage after the other, on this terminal."""

    def __init__(self, runner: str) -> None:
        self.runner, self._stopped = runner, False

    def run_stage(self, call: StageCall) -> int:
        """Run a stage to its end.

        A failure before it starts is printed too, and its code returned.
        """
        with Boundary(call.stage.name) as end:
            end.config = call.config
            end.code = start(LaunchRequest(call, self.runner))
        return end.code

    def run_jobs(self, jobs: Mapping[str, Job[_Result]]) -> Iterator[_Result]:
        """Run the jobs in their order."""
        for job in jobs.values():
            if self._stopped:
                return
            yield job(self)

    def stop(self) -> None:
        """Begin no further job."""
        self._stopped = True


class ParallelWorkers:
    """A process for each slot; `slots` are values for CUDA_VISIBLE_DEVICES, which both runners go
    by.
    """

    def __init__(self, slots: Sequence[str | None], runner: str, logs: Path) -> None:
        self.slots, self.runner, self.logs = tuple(slots), runner, logs
        self._over = threading.Event()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def run_stage(self, call: StageCall) -> int:
        """Run a stage on this terminal: the data stages, before the experiments are distributed."""
        return SequentialWorkers(self.runner).run_stage(call)

    def run_jobs(self, jobs: Mapping[str, Job[_Result]]) -> Iterator[_Result]:
        """Let every slot take the next job when it is free.

        A stop by signal reaches all of them, and is waited for.
        """
        waiting: queue.SimpleQueue[tuple[str, Job[_Result]]] = queue.SimpleQueue()
        results: queue.SimpleQueue[_Result | BaseException | None] = queue.SimpleQueue()
        for item in jobs.items():
            waiting.put(item)

        def work(slot: str | None) -> None:
            while not self._over.is_set():
                try:
                    name, job = waiting.get_nowait()
                except queue.Empty:
                    break
                try:
                    results.put(job(_SlotWorkers(self, slot, self.logs / f"{name}.log")))
                except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
                    results.put(error)
            results.put(None)

        with handle_signals(self._on_signal, signal.SIGINT, signal.SIGTERM):
            for slot in self.slots:
                threading.Thread(target=work, args=(slot,), daemon=True).start()
            working = len(self.slots)
            while working:
                result = results.get()
                if result is None:
                    working -= 1
                elif isinstance(result, BaseException):
                    self.stop()
                    raise result
                else:
                    yield result

    def stop(self) -> None:
        """Begin no further job; the running ones continue to their end."""
        self._over.set()

    def start_task(self, argv: Sequence[str], slot: str | None, log: Path) -> int:
        """Run one task in a process of its own. Returns its exit code."""
        log.parent.mkdir(parents=True, exist_ok=True)
        env = {
            **os.environ,
            **({} if slot is None else {"CUDA_VISIBLE_DEVICES": slot}),
        }
        with open(log, "ab") as output:
            child = subprocess.Popen(
                [*isolated.command("sftplay.host.cli"), *argv],
                env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                pass_fds=inherited(env),
            )  # fmt: skip
        self._children[child.pid] = child
        try:
            return exit_code(child.wait())
        finally:
            del self._children[child.pid]

    def _on_signal(self, signum: int) -> None:
        self.stop()
        console.warning("stopping: every training saves a checkpoint first")
        for child in list(self._children.values()):
            child.send_signal(signal.SIGTERM)


class _SlotWorkers:
    """The workers of a job on one slot."""

    def __init__(self, pool: ParallelWorkers, slot: str | None, log: Path) -> None:
        self.pool, self.slot, self.log = pool, slot, log

    def run_stage(self, call: StageCall) -> int:
        """Run a stage in a process of its own, its output in the job's log.

        Returns its exit code.
        """
        code = self.pool.start_task([*call.argv, "--runner", self.pool.runner], self.slot, self.log)
        if code:
            console.warning(f"{call.stage.name} ended with {code}: {self.log}")
        return code

    def run_jobs(self, jobs: Mapping[str, Job[_Result]]) -> Iterator[_Result]:
        """Run jobs inside a job one after the other."""
        for job in jobs.values():
            yield job(self)

    def stop(self) -> None:
        """Begin no further job."""
        self.pool.stop()
