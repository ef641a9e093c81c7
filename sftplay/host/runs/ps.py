"""Running stages in every runner, and how to stop them: `inv ps`, `inv stop`. Found by locks and
labels, never by a process's name.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sftplay import console
from sftplay.errors import MachineError, NotFoundError, SftplayError, UsageError
from sftplay.host.containers import available
from sftplay.host.containers import engine as engines
from sftplay.host.containers import lifecycle as containers
from sftplay.host.containers import stop as container_stop
from sftplay.host.containers import training as container_training
from sftplay.host.containers.engine import Engine
from sftplay.host.local.training import request_stop
from sftplay.host.protocol import records
from sftplay.host.protocol.records import PROCESS_RUNNERS
from sftplay.host.protocol.signals import GRACE
from sftplay.host.protocol.stops import ask_to_stop
from sftplay.host.runs import tensorboard, trackio
from sftplay.host.runs.running import (
    COMPOSE,
    SERVE,
    UNKNOWN,
    RunningItem,
    find_running,
    is_watched,
    serve_lock,
)
from sftplay.host.runs.view import read_run
from sftplay.locks import is_held
from sftplay.runs import Run

_STOP_PAGE = {tensorboard.PAGE.name: tensorboard.stop, trackio.PAGE.name: trackio.stop}


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
        (f.stage, f.run or "-", f.runner, f.stack or "-", f.since or "-", _state(f), f.where)
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


def stop_servers(runs: Sequence[str]) -> int:
    """Stop the servers of these runs, or all of this project; answers that are being written end
    first. Returns the exit code.

    Raises:
        NotFoundError: that run is not served (66).
    """
    engine, trouble = _engine()
    if trouble is not None:
        console.warning(f"containers can't be stopped: {trouble}")
    found = [one for one in find_running(engine) if one.stage == SERVE]
    for run in runs:
        if run not in [one.run for one in found]:
            raise NotFoundError(f"the run {run} is not served", todo="inv ps shows what runs")
    chosen = [one for one in found if not runs or one.run in runs]
    for one in chosen:
        _stop(engine, one)
    if not chosen:
        console.success("no server of ours is running")
    return 0


def _chosen(
    found: list[RunningItem], runs: Sequence[str], *, everything: bool
) -> list[RunningItem]:
    if everything:
        return found
    stages = [one for one in found if one.stage not in _STOP_PAGE]
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
    if one.stage in _STOP_PAGE:
        _STOP_PAGE[one.stage]()
        return
    run = Run(one.run)
    if one.container:
        assert engine is not None
        _stop_container(engine, one)
    elif one.stage == SERVE and one.pid:
        os.kill(one.pid, signal.SIGTERM)
        _wait_until_free(serve_lock(one.run))
    elif one.job.startswith("ray "):
        ask_to_stop(one.job.removeprefix("ray "), one.run)
        _wait_until_free(run.launch_lock)
    elif one.job.startswith("slurm "):
        _stop_job(one)
        _wait_until_free(run.launch_lock)
    elif one.runner in PROCESS_RUNNERS and one.stage != SERVE:
        request_stop(run, kill=False)
        _wait_until_free(run.launch_lock)
    elif one.pid:
        os.kill(one.pid, signal.SIGTERM)
        _wait_until_free(run.run_lock)
    else:
        raise MachineError(
            f"{one.name} runs where no signal reaches it from here",
            where=str(run.run_lock),
            todo="stop it where it was started; a checkpoint is written on SIGTERM",
        )
    console.success(f"{one.name} is stopped{_how(one)}")


def _stop_job(one: RunningItem) -> None:
    """Let Slurm signal the job: its processes are on another machine.

    Its script would put a job that ends with 85 into the queue again, as at a time limit; not this
    one.
    """
    job = one.job.removeprefix("slurm ")
    commands = (
        ["scontrol", "update", f"JobId={job}", "Requeue=0"],
        ["scancel", "--signal=TERM", job],
    )
    for argv in commands:
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            trouble = done.stderr.strip() if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            trouble = str(error)
        if trouble:
            todo = " && ".join(map(shlex.join, commands))
            raise MachineError(
                f"{one.name} runs in a job of Slurm that can't be signaled from here: {trouble}",
                todo=f"on a machine of the cluster: {todo}",
            )


def _stop_container(engine: Engine, one: RunningItem) -> None:
    """A training is left for its launcher, or the next one, to harvest; anything else is removed."""
    if one.runner == COMPOSE:
        grace = GRACE if one.stage in ("train", SERVE) else 10
        container_stop.stop_soon(engine, one.container, grace).join()
        containers.remove(engine, one.container, force=True)
        return
    start = records.newest(Run(one.run).launch) if one.stage == "train" and one.run else None
    if start is not None and one.state != "exited":
        container_training.request_stop(
            engine, Run(one.run), start, one.container, kill=False
        ).join()
    elif one.state == "running":
        grace = GRACE if one.stage == SERVE else 10
        container_stop.stop_soon(engine, one.container, grace).join()
    if start is None:
        containers.remove(engine, one.container, force=True)
    elif not is_watched(Run(one.run)):
        container_training.running(engine, Run(one.run))  # writes down how it ended, and removes it


def _wait_until_free(lock: Path) -> None:
    deadline = time.monotonic() + GRACE + 10
    while is_held(lock) and time.monotonic() < deadline:
        time.sleep(0.1)


def _how(one: RunningItem) -> str:
    run = Run(one.run) if one.run else None
    if run and one.stage == "train" and one.runner in (COMPOSE, UNKNOWN):
        saved = read_run(run).state == "interrupted"
        return (
            ", its checkpoint is written: the same command with --resume continues" if saved else ""
        )
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


def _engine() -> tuple[Engine | None, SftplayError | None]:
    """The engine; no word about one that was never here."""
    if not engines.may_be_here():
        return None, None
    shelf = available.find()
    return shelf.engine, shelf.problem
