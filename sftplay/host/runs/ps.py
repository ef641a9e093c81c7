"""Running stages in both runners, and how to stop them: `inv ps`, `inv stop`. Found by locks and
labels, never by a process's name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import NotFoundError, SftplayError, UsageError
from sftplay.host.containers import available
from sftplay.host.containers import engine as engines
from sftplay.host.containers import lifecycle as containers
from sftplay.host.containers import stop as container_stop
from sftplay.host.containers import training as container_training
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.spec import project_of
from sftplay.host.local.training import request_stop
from sftplay.host.protocol import records
from sftplay.host.protocol.signals import GRACE
from sftplay.host.runs import tensorboard
from sftplay.locks import is_held
from sftplay.places import OUTPUTS
from sftplay.runs import Run

BOARD = "tensorboard"


@dataclass(frozen=True)
class RunningItem:
    """One thing of this project that runs, or that ended and was left behind.

    Attributes:
        where: container or process.
        watched: a launcher shows it on some terminal; None where nobody needs to.
        container: its id, empty in the local runner.
    """

    stage: str
    run: str
    runner: str
    stack: str
    since: str
    state: str
    where: str
    watched: bool | None = None
    container: str = ""

    @property
    def name(self) -> str:
        return f"{self.stage} {self.run}".strip()


def show() -> None:
    """Print what runs; next steps on stderr."""
    engine, trouble = _engine()
    found = list(find_running(engine))
    if trouble is not None:
        console.warning(f"containers are not shown: {trouble}")
    if not found:
        console.info("nothing of this project runs")
        return
    rows = [("what", "run", "runner", "stack", "since", "state", "where")]
    rows += [
        (f.stage, f.run or "-", f.runner, f.stack or "-", f.since, _state(f), f.where)
        for f in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        console.result(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    if any(f.watched is False for f in found):
        console.info(
            "next: the same inv train command watches a training again; inv stop RUN ends it with a checkpoint"
        )


def stop(runs: Sequence[str], *, everything: bool) -> int:
    """Stop what works on these runs (a training with a checkpoint), or all that runs here. Returns
    the exit code.

    Raises:
        UsageError: which of several (2). NotFoundError: that run does not run (66).
    """
    engine, trouble = _engine()
    if trouble is not None:
        console.warning(f"containers can't be stopped: {trouble}")
    found = list(find_running(engine))
    chosen = _chosen(found, runs, everything=everything)
    for one in chosen:
        _stop(engine, one)
    if not chosen:
        console.success("nothing of this project runs")
    return 0


def find_running(engine: Engine | None) -> Iterator[RunningItem]:
    """Trainings under a supervisor, containers of this project, TensorBoard."""
    yield from _local()
    board = tensorboard.ours()
    if board is not None:
        yield RunningItem(
            BOARD,
            "",
            "local",
            "cpu",
            "",
            "running",
            f"process {board.process.pid}, port {board.port}",
        )
    if engine is not None:
        yield from _contained(engine)


def _local() -> Iterator[RunningItem]:
    for folder in sorted(path.parent for path in OUTPUTS.glob("*/.launch.lock")):
        run = Run(folder.name)
        start = records.newest(run.launch)
        if start is not None and start.runner == "local" and is_held(run.launch_lock):
            yield RunningItem(
                "train",
                run.name,
                "local",
                start.stack,
                start.created,
                "running",
                "a supervised process",
                _watched(run),
            )


def _contained(engine: Engine) -> Iterator[RunningItem]:
    label = f"sftplay.project={project_of(str(Path.cwd()))}"
    with engine_errors("list containers"):
        listed: list[dict[str, Any]] = engine.api.containers(all=True, filters={"label": label})
    for found in listed:
        labels = found["Labels"]
        stage, name = labels.get("sftplay.stage", "?"), labels.get("sftplay.run", "")
        yield RunningItem(
            stage,
            name,
            "docker",
            labels.get("sftplay.stack", ""),
            time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(found["Created"])),
            found["State"],
            f"container {found['Id'][:12]}",
            _watched(Run(name)) if stage == "train" and name else None,
            found["Id"],
        )


def _chosen(
    found: list[RunningItem], runs: Sequence[str], *, everything: bool
) -> list[RunningItem]:
    if everything:
        return found
    stages = [one for one in found if one.stage != BOARD]
    if not runs and len(stages) > 1:
        names = ", ".join(one.name for one in stages)
        raise UsageError(
            f"{len(stages)} things run here: {names}", todo="inv stop RUN, or inv stop --all"
        )
    for run in runs:
        if run not in [one.run for one in stages]:
            todo = "inv ps shows what does"
            raise NotFoundError(
                f"nothing of the run {run} is running", where=str(Run(run).folder), todo=todo
            )
    return [one for one in stages if not runs or one.run in runs]


def _stop(engine: Engine | None, one: RunningItem) -> None:
    console.info(
        f"stopping {one.name} ({one.where}){f': up to {GRACE} s for a checkpoint' if one.stage == 'train' else ''}"
    )
    if one.stage == BOARD:
        tensorboard.stop()
        return
    if one.container:
        assert engine is not None
        _stop_container(engine, one)
    else:
        run = Run(one.run)
        request_stop(run, kill=False)
        deadline = time.monotonic() + GRACE + 10
        while is_held(run.launch_lock) and time.monotonic() < deadline:
            time.sleep(0.1)
    console.success(f"{one.name} is stopped{_how(one)}")


def _stop_container(engine: Engine, one: RunningItem) -> None:
    """A training is left for its launcher, or the next one, to harvest; anything else is removed."""
    start = records.newest(Run(one.run).launch) if one.stage == "train" and one.run else None
    if start is not None and one.state != "exited":
        container_training.request_stop(
            engine, Run(one.run), start, one.container, kill=False
        ).join()
    elif one.state == "running":
        container_stop.stop_soon(engine, one.container, 10).join()
    if start is None:
        containers.remove(engine, one.container, force=True)
    elif not _watched(Run(one.run)):
        container_training.running(engine, Run(one.run))  # writes down how it ended, and removes it


def _how(one: RunningItem) -> str:
    run = Run(one.run) if one.run else None
    start = records.newest(run.launch) if run and one.stage == "train" else None
    end = records.read_exit(run.launch, start) if run and start else None
    if end is None or end.code is None:
        return ""
    return (
        ", its checkpoint is written: inv train with --resume continues"
        if end.code == 85
        else f" (code {end.code})"
    )


def _state(one: RunningItem) -> str:
    return f"{one.state}, no terminal watches it" if one.watched is False else one.state


def _watched(run: Run) -> bool:
    return is_held(run.launch / "terminal.lock")


def _engine() -> tuple[Engine | None, SftplayError | None]:
    """The engine; no word about one that was never here."""
    if not engines.may_be_here():
        return None, None
    shelf = available.find()
    return shelf.engine, shelf.problem
