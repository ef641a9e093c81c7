"""What does a batch's work: this process, one stage after the other, or a process for each GPU.

Both start stages as the single tasks do. Several at a time print into files of their own: mixed on one screen nobody reads them.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

from sftplay import console
from sftplay.errors import SftplayError
from sftplay.host.launch import stage as stages
from sftplay.host.protocol.ends import exit_code
from sftplay.host.system.checkout import CHECKOUT

_Result = TypeVar("_Result")
Job = Callable[["Hands"], _Result]


class Hands(Protocol):
    """Does stages, and shares out jobs that do stages."""

    def do(self, stage: str, config: str, *options: str) -> int:
        """A stage to its end; its exit code."""

    def share(self, jobs: Mapping[str, Job[Any]]) -> Iterator[Any]:
        """Results of jobs as they come."""

    def stop(self) -> None:
        """No further job begins."""


def hands_for(slots: Sequence[str | None], runner: str, logs: Path) -> Hands:
    """One pair for one slot, else as many as there are slots."""
    return InOrder(runner) if len(slots) == 1 else SideBySide(slots, runner, logs)


class InOrder:
    """One stage after the other, on this terminal."""

    def __init__(self, runner: str) -> None:
        self.runner, self._stopped = runner, False

    def do(self, stage: str, config: str, *options: str) -> int:
        """A stage to its end; what is wrong before it starts is said, and its code returned."""
        try:
            return stages.start(stage, config=config, options=options, runner=self.runner)
        except SftplayError as problem:
            console.failure(problem)
            return problem.code

    def share(self, jobs: Mapping[str, Job[_Result]]) -> Iterator[_Result]:
        """The jobs in their order."""
        for job in jobs.values():
            if self._stopped:
                return
            yield job(self)

    def stop(self) -> None:
        """No further job begins."""
        self._stopped = True


class SideBySide:
    """A process for each slot; `slots` are values for CUDA_VISIBLE_DEVICES, which both runners go by."""

    def __init__(self, slots: Sequence[str | None], runner: str, logs: Path) -> None:
        self.slots, self.runner, self.logs = tuple(slots), runner, logs
        self._over = threading.Event()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def do(self, stage: str, config: str, *options: str) -> int:
        """On the first slot, on this terminal: the data stages, before the experiments are shared out."""
        return InOrder(self.runner).do(stage, config, *options)

    def share(self, jobs: Mapping[str, Job[_Result]]) -> Iterator[_Result]:
        """Every slot takes the next job when it is free. A stop by signal reaches all of them, and is waited for."""
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
                    results.put(job(_OneSlot(self, slot, self.logs / f"{name}.log")))
                except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
                    results.put(error)
            results.put(None)

        before = {signum: signal.signal(signum, self._on_signal) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
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
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def stop(self) -> None:
        """No further job begins; the running ones go on to their end."""
        self._over.set()

    def start(self, argv: Sequence[str], slot: str | None, log: Path) -> int:
        """One task in a process of its own."""
        log.parent.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT), **({} if slot is None else {"CUDA_VISIBLE_DEVICES": slot})}
        with open(log, "ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "sftplay.host.cli", *argv],
                env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._children[child.pid] = child
        try:
            return exit_code(child.wait())
        finally:
            del self._children[child.pid]

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.stop()
        console.warning("stopping: every training saves a checkpoint first")
        for child in list(self._children.values()):
            child.send_signal(signal.SIGTERM)


class _OneSlot:
    """What a job on one slot works with."""

    def __init__(self, whole: SideBySide, slot: str | None, log: Path) -> None:
        self.whole, self.slot, self.log = whole, slot, log

    def do(self, stage: str, config: str, *options: str) -> int:
        """A stage in a process of its own, its output in the job's log."""
        argv = [stage, "--config", config, "--runner", self.whole.runner, *options]
        code = self.whole.start(argv, self.slot, self.log)
        if code:
            console.warning(f"{stage} ended with {code}: {self.log}")
        return code

    def share(self, jobs: Mapping[str, Job[_Result]]) -> Iterator[_Result]:
        """Jobs inside a job go one after the other."""
        for job in jobs.values():
            yield job(self)

    def stop(self) -> None:
        """No further job begins."""
        self.whole.stop()
