"""Running stages of this project, found by labels and locks, never by a process's name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftplay import console
from sftplay.errors import SftplayError
from sftplay.host.containers import of_project
from sftplay.host.containers.engine import Engine
from sftplay.host.protocol import records
from sftplay.host.runs import tensorboard, trackio
from sftplay.host.system.processes import identify, lock_holder
from sftplay.locks import is_held
from sftplay.places import OUTPUTS
from sftplay.runs import Run

SERVE = "serve"
PAGES = {tensorboard.PAGE: "cpu", trackio.PAGE: "trackio"}  # with the environments they run in
COMPOSE = "compose"  # the runner of what docker compose started
UNKNOWN = "-"  # and of what was started without either


@dataclass(frozen=True)
class RunningItem:
    """One thing of this project that runs, or that ended and was left behind.

    Attributes:
        where: container or process.
        watched: a launcher shows it on some terminal; None where nobody needs to.
        container: its id, empty in the local runner.
        pid: of a server, or a training that was started without a task.
        job: of a cluster's scheduler, which reaches the training on any node.
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
    pid: int | None = None
    job: str = ""

    @property
    def name(self) -> str:
        return f"{self.stage} {self.run}".strip()


def find_running(engine: Engine | None) -> Iterator[RunningItem]:
    """Trainings under a supervisor, containers of this project, servers, pages, and every other
    training that holds its lock.
    """
    found = list(_supervised())
    jobs = {one.run for one in found if one.job}  # stopped through their scheduler
    found += (
        [one for one in _contained(engine) if one.run not in jobs] if engine is not None else []
    )
    yield from found
    yield from _unclaimed({one.run for one in found if one.stage != SERVE})
    yield from _servers({one.run for one in found if one.stage == SERVE})
    yield from _pages()


def _supervised() -> Iterator[RunningItem]:
    for folder in sorted(path.parent for path in OUTPUTS.glob("*/.launch.lock")):
        run = Run(folder.name)
        if not is_held(run.launch_lock):
            continue
        try:
            start = records.newest(run.launch)
        except SftplayError as error:
            console.warning(f"{run.name}: {error}")
            continue
        if start is not None and (start.is_process or start.job):
            yield RunningItem(
                "train",
                run.name,
                start.runner,
                start.stack,
                start.created,
                "running",
                start.place or "a supervised process",
                is_watched(run),
                job=start.job,
            )


def _contained(engine: Engine) -> Iterator[RunningItem]:
    for found in of_project.find(engine):
        if found.composed and not found.runs:
            continue  # compose keeps what has ended, until `docker compose down`
        trains = found.stage == "train" and found.run and not found.composed
        yield RunningItem(
            found.stage,
            found.run,
            COMPOSE if found.composed else "docker",
            found.stack,
            _moment(found.created),
            found.state,
            f"container {found.id[:12]}",
            is_watched(Run(found.run)) if trains else None,
            found.id,
        )


def _unclaimed(known: set[str]) -> Iterator[RunningItem]:
    """Trainings that were started without a task: only their lock tells.

    Args:
        known: runs that are listed already.
    """
    for lock in sorted(OUTPUTS.glob("*/.run.lock")):
        run = Run(lock.parent.name)
        if run.name not in known and is_held(lock):
            pid = lock_holder(lock)
            where = f"process {pid}" if pid else "a process that is not seen from here"
            since = _since(pid)
            yield RunningItem("train", run.name, UNKNOWN, "", since, "running", where, pid=pid)


def serve_lock(name: str) -> Path:
    """Return the lock of a run's server; `name` is empty for one of a base alone."""
    return OUTPUTS / (name or ".base") / "serve" / ".lock"


def _servers(known: set[str]) -> Iterator[RunningItem]:
    """Servers that are no containers of ours.

    Args:
        known: runs whose server is listed already.
    """
    for lock in sorted(OUTPUTS.glob("*/serve/.lock")):
        name = lock.parent.parent.name.removeprefix(".base")
        if name not in known and is_held(lock):
            pid = lock_holder(lock)
            where = f"process {pid}" if pid else "a process that is not seen from here"
            yield RunningItem(SERVE, name, "local", "", _since(pid), "running", where, pid=pid)


def _pages() -> Iterator[RunningItem]:
    """Pages in the background that are no containers."""
    for page, stack in PAGES.items():
        found = page.ours()
        if found is not None:
            where = f"process {found.process.pid}, port {found.port}"
            since = _moment(found.process.started)
            yield RunningItem(page.name, "", "local", stack, since, "running", where)


def _moment(seconds: float) -> str:
    """Return a time, of seconds since 1970, as starts are recorded."""
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def _since(pid: int | None) -> str:
    """Return when a process began; empty where it is not seen from here."""
    process = identify(pid) if pid else None
    return _moment(process.started) if process else ""


def is_watched(run: Run) -> bool:
    """Return whether a launcher shows this training on some terminal."""
    return is_held(run.launch / "terminal.lock")
