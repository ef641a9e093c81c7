"""Engines of a batch: where its experiments run. On a cluster an experiment is one command on a
node; what became of it is read from its run folder, so a driver that is killed continues.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from sftplay import console
from sftplay.errors import EXIT_MEANINGS, RefusedError, UsageError
from sftplay.host.batch.expand import Experiment
from sftplay.host.batch.plan import decide
from sftplay.host.batch.work import BatchRun, ExperimentOutcome

EngineName = Literal["local", "slurm"]
POLL = 1.0  # seconds between two looks at a cluster's queue


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
    """A cluster's queue."""

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


def check_engine(name: str) -> None:
    """Refuse an unknown engine.

    Raises:
        UsageError: no such engine (2).
    """
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
    began = time.monotonic()
    by_name = {one.name: one for one in experiments}
    waiting = engine.known() & by_name.keys()
    for name in sorted(waiting):
        console.info(f"── {name}: in the queue already")
    new = []
    for one in experiments:
        if one.name in waiting:
            continue
        step = decide(one, batch.splits)
        console.info(f"── {one.name}: {step.action} ({step.reason})")
        if step.action == "skip":
            yield ExperimentOutcome(one.name, 0, "done before")
        elif step.action == "refuse":
            console.error(f"{one.name}: {step.reason}")
            yield ExperimentOutcome(one.name, RefusedError.code, "refused: " + step.reason)
        else:
            new.append(one.name)
    if new:
        engine.submit(new)
    waiting |= set(new)
    while waiting and not stops:
        for end in engine.ends():
            if end.name in waiting:
                waiting.discard(end.name)
                outcome = _outcome(batch, by_name[end.name], end, time.monotonic() - began)
                yield outcome
                if outcome.code and stop_on_error:
                    engine.cancel()
                    return
        time.sleep(POLL)
    if waiting:
        console.warning(
            f"{len(waiting)} experiments stay in the queue, and those that run continue: the same command"
            f" watches them again; {engine.how_to_stop()} stops them"
        )


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
