"""Engines of a batch: where its experiments run. On a cluster an experiment is one command on a
node; what became of it is read from its run folder, so a driver that is killed continues.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from sftplay import console
from sftplay.errors import EXIT_MEANINGS, RefusedError, UsageError
from sftplay.host.batch.expand import Experiment
from sftplay.host.batch.plan import ExperimentStep, decide
from sftplay.host.batch.work import BatchRun, ExperimentOutcome
from sftplay.host.protocol.signals import GRACE

EngineName = Literal["local", "slurm", "ray"]
POLL = 1.0  # seconds between two looks at a cluster's queue
_HELD = (
    GRACE + 60.0
)  # seconds in which a lost node's training saves and leaves, or its lock expires


@dataclass(frozen=True)
class JobEnd:
    """The end of an experiment's job.

    Attributes:
        code: of its command; None where the cluster lost it.
        where: job and node, for messages.
    """

    name: str
    code: int | None
    where: str


class ClusterEngine(Protocol):
    """A cluster's queue.

    Attributes:
        restarts: how often an experiment that the cluster lost is submitted again; Slurm requeues
            those of a lost node itself.
    """

    restarts: int

    def known(self) -> set[str]:
        """Experiments that an earlier driver of this batch submitted, and that have not ended."""

    def submit(self, names: Sequence[str]) -> None:
        """Put experiments into the queue."""

    def ends(self) -> list[JobEnd]:
        """Jobs that have ended since the last call."""

    def cancel(self) -> None:
        """Remove what waits in the queue; what runs continues."""

    def how_to_stop(self) -> str:
        """Return the command that stops the jobs."""

    def words(self) -> tuple[str, ...]:
        """Return the options that choose this engine."""


def check_engine(name: str, address: str | None) -> None:
    """Refuse an unknown engine, and an address where none belongs or is missing.

    Raises:
        UsageError: no such engine (2).
    """
    if (name == "ray") != bool(address):
        raise UsageError(
            "--engine ray and --address HOST:PORT belong together",
            todo="inv ray.agent on the first machine prints the address",
        )
    if name not in get_args(EngineName):
        raise UsageError(
            f"there is no engine {name!r}", todo=f"one of {', '.join(get_args(EngineName))}"
        )


def run_on_cluster(
    batch: BatchRun,
    experiments: Sequence[Experiment],
    engine: ClusterEngine,
    stops: Sequence[int],
    *,
    stop_on_error: bool,
) -> Iterator[ExperimentOutcome]:
    """Outcomes as they come; ends early where a person stops the driver, whose jobs continue.

    Args:
        stops: signals that this driver has received so far.
    """
    driver = _Driver(batch, {one.name: one for one in experiments}, engine)
    yield from driver.begin()
    while driver.is_busy and not stops:
        for outcome in driver.look():
            yield outcome
            if outcome.code and stop_on_error:
                engine.cancel()
                return
        time.sleep(POLL)
    if driver.is_busy:
        console.warning(
            f"{len(driver.waiting) + len(driver.held)} experiments stay in the queue, and those that run continue: the"
            f" same command watches them again; {engine.how_to_stop()} stops them"
        )


class _Driver:
    """Experiments on their way through a queue.

    Attributes:
        waiting: in the queue, or at work. held: their run is locked by a training outside of the
            queue, or on a node that was lost; submitted when it is free, given up at the deadline.
        lost: how often each was lost.
    """

    def __init__(
        self, batch: BatchRun, by_name: Mapping[str, Experiment], engine: ClusterEngine
    ) -> None:
        self.batch, self.by_name, self.engine = batch, by_name, engine
        self.began = time.monotonic()
        self.waiting: set[str] = set()
        self.held: dict[str, float] = {}
        self.lost: Counter[str] = Counter()

    @property
    def is_busy(self) -> bool:
        return bool(self.waiting or self.held)

    def begin(self) -> Iterator[ExperimentOutcome]:
        """Submit what is not in the queue and has to run."""
        self.waiting = self.engine.known() & self.by_name.keys()
        for name in sorted(self.waiting):
            console.info(f"── {name}: in the queue already")
        yield from self._submit([name for name in self.by_name if name not in self.waiting])

    def look(self) -> Iterator[ExperimentOutcome]:
        """Outcomes of what has ended since the last look; what was lost is submitted again."""
        for end in self.engine.ends():
            if end.name not in self.waiting:
                continue
            self.waiting.discard(end.name)
            if end.code is None and self._may_try_again(end.name):
                continue
            yield _outcome(self.batch, self.by_name[end.name], end, time.monotonic() - self.began)
        now = time.monotonic()
        for name in [name for name in self.held if now > self.held[name]]:
            del self.held[name]
            console.error(f"{name}: a node that was lost still holds its run")
            yield ExperimentOutcome(name, 69, "held by a lost node", now - self.began)
        free = [name for name in self.held if self._decide(name).action != "watch"]
        for name in free:
            del self.held[name]
        yield from self._submit(free)

    def _decide(self, name: str) -> ExperimentStep:
        return decide(self.by_name[name], self.batch.splits)

    def _may_try_again(self, name: str) -> bool:
        """Return whether a lost experiment is submitted again, once its run is free."""
        if self._decide(name).action == "skip" or self.lost[name] >= self.engine.restarts:
            return False
        self.lost[name] += 1
        self.held[name] = time.monotonic() + _HELD
        console.warning(
            f"{name}: its node was lost; it is submitted again"
            f" ({self.lost[name]} of {self.engine.restarts} times)"
        )
        return True

    def _submit(self, names: Sequence[str]) -> Iterator[ExperimentOutcome]:
        new = []
        for name in names:
            step = self._decide(name)
            console.info(f"── {name}: {step.action} ({step.reason})")
            if step.action == "skip":
                yield ExperimentOutcome(name, 0, "done before")
            elif step.action == "refuse":
                console.error(f"{name}: {step.reason}")
                yield ExperimentOutcome(name, RefusedError.code, "refused: " + step.reason)
            elif step.action == "watch":  # by somebody else, who ends it
                self.held[name] = math.inf
            else:
                new.append(name)
        if new:
            self.engine.submit(new)
        self.waiting |= set(new)


def _outcome(
    batch: BatchRun, experiment: Experiment, end: JobEnd, seconds: float
) -> ExperimentOutcome:
    """Return the outcome that the run folder shows; the job's code explains why it is not done."""
    if decide(experiment, batch.splits).action == "skip":
        console.success(f"{end.name}: done ({end.where})")
        return ExperimentOutcome(end.name, 0, "done", seconds)
    code = 69 if not end.code else end.code
    said = f"ended with {code}" if end.code else "lost by the cluster"
    meaning = (
        EXIT_MEANINGS.get(code, "unknown") if end.code else "its node is gone, or it was cancelled"
    )
    console.error(f"{end.name}: {said} ({meaning}; {end.where})")
    return ExperimentOutcome(end.name, code, said, seconds)
