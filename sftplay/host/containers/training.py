"""A training in a container: found again by its labels, watched, harvested; its end is on disk before the container goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import ProtocolError
from sftplay.files import TMP_PREFIX, write_text
from sftplay.host.containers import errors as engine_errors
from sftplay.host.containers import lifecycle as containers
from sftplay.host.containers import stop as container_stop
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.lifecycle import End, Output
from sftplay.host.containers.spec import ContainerSpec, Image, project_of
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Exit, Start
from sftplay.host.protocol.signals import GRACE, Wishes, say_stopping
from sftplay.host.ui.terminal import copy, settled
from sftplay.runs import Run

_TAIL = 40  # lines of earlier output shown when a launcher comes back
_AGAIN = "the same command finds it again"


@dataclass(frozen=True)
class ContainerSeat:
    """A stack's image, and how the stage's container is made from a start's record.

    Attributes:
        spec: start → specification.
        before: called once the run's folder is there: what else the mounts need on this side.
    """

    engine: Engine
    image: Image
    spec: Callable[[Start], ContainerSpec]
    before: Callable[[], None]
    grace: int = GRACE
    runner: str = "docker"

    @property
    def stack(self) -> str:
        return self.image.stack

    @property
    def made_of(self) -> str:
        return self.image.digest

    def run(self, run: Run, start: Start, lock: int, wishes: Wishes) -> Exit | None:
        """Create, attach, start, watch, read the end, write it down, remove."""
        try:
            self.before()
            container = containers.create(self.engine, self.spec(start))
            try:
                stream = self.engine.api.attach(container, stream=True, logs=True, demux=True)
                containers.start(self.engine, container)
            except BaseException:
                containers.remove(self.engine, container, force=True)
                raise
            return _watch(self.engine, run, start, container, Output(stream), wishes, self.grace)
        finally:
            os.close(lock)


def running(engine: Engine, run: Run) -> Start | None:
    """The start whose container runs now. Containers that never began are removed, ended ones are harvested first.

    Raises:
        ProtocolError: a container runs whose record is gone (70).
    """
    for found in of_run(engine, run):
        start = _start_of(run, found)
        state = containers.inspect(engine, found["Id"])
        if state is None:
            continue
        if state["Status"] == "created" and containers.remove(engine, found["Id"], force=False):
            continue
        if state["Status"] in ("created", "running", "paused", "restarting"):
            if start is None:
                raise ProtocolError(
                    "a training runs in a container, and the record of its start is gone",
                    where=f"container {found['Id'][:12]}",
                    todo=f"end it: inv stop {run.name}",
                )
            return start
        if start is not None:
            _harvest(engine, run, start, found["Id"], End(int(state["ExitCode"]), bool(state["OOMKilled"])))
        containers.remove(engine, found["Id"], force=True)
    return None


def adopt(engine: Engine, run: Run, start: Start, wishes: Wishes) -> Exit | None:
    """Watch a training that another launcher started."""
    found = next((one for one in of_run(engine, run) if one["Labels"].get("sftplay.nonce") == start.nonce), None)
    if found is None:
        return records.read_exit(run.launch, start) or _vanished(run, start)
    with engine_errors.engine_errors("watch the training"):
        tail = engine.api.attach(found["Id"], stream=True, logs=False, demux=True)
        earlier = engine.api.logs(found["Id"], tail=_TAIL)
    console.info("its last lines:")
    copy(settled(earlier).encode())
    return _watch(engine, run, start, found["Id"], Output(tail), wishes, GRACE)


def of_run(engine: Engine, run: Run) -> list[dict[str, Any]]:
    """Containers of this run's trainings, in any state, newest first, as the engine lists them."""
    labels = [f"sftplay.project={project_of(str(Path.cwd()))}", f"sftplay.run={run.name}", "sftplay.stage=train"]
    with engine_errors.engine_errors("look for the run's containers"):
        return list(engine.api.containers(all=True, filters={"label": labels}))


def ask(engine: Engine, run: Run, start: Start, container: str, *, kill: bool, grace: int = GRACE) -> Any:
    """Ask a training for its end. Written down first: whatever it leaves behind, it is never handed over then."""
    write_text(records.asked_file(run.launch, start.number), "kill" if kill else "stop")
    return container_stop.kill_now(engine, container) if kill else container_stop.stop_soon(engine, container, grace)


def _watch(
    engine: Engine, run: Run, start: Start, container: str, output: Output, wishes: Wishes, grace: int
) -> Exit | None:
    passed_on = 0

    def meanwhile() -> bool:
        nonlocal passed_on
        if wishes.hung_up:
            return True
        if len(wishes.stops) > passed_on:
            passed_on += 1
            if passed_on == 1:
                say_stopping()
            ask(engine, run, start, container, kill=passed_on > 1, grace=grace)
        return False

    end = containers.wait(engine, container, output, "the training", again=_AGAIN, meanwhile=meanwhile)
    if wishes.hung_up:
        return None
    ended = _harvest(engine, run, start, container, end)
    containers.remove(engine, container, force=True)
    containers.explain("train", end, asked=bool(ended.asked))
    return ended


def _harvest(engine: Engine, run: Run, start: Start, container: str, end: End) -> Exit:
    """What the container said and how it ended, on disk. Only then it may be removed."""
    before = records.read_exit(run.launch, start)
    if before is not None:
        return before
    _save_output(engine, container, records.output_file(run.launch, start.number))
    asked = records.read_asked(run.launch, start.number)
    return records.write_exit(run.launch, start, code=end.code, asked=asked, oom=end.oom)


def _save_output(engine: Engine, container: str, path: Path) -> None:
    import docker.errors
    import requests

    tmp = path.with_name(TMP_PREFIX + path.name)
    try:
        with open(tmp, "wb") as out:
            out.writelines(engine.api.logs(container, stream=True, follow=False))
        tmp.replace(path)
    except (docker.errors.DockerException, requests.RequestException, OSError):
        tmp.unlink(missing_ok=True)  # the attempt's train.log holds the stage's own lines


def _vanished(run: Run, start: Start) -> Exit:
    asked = records.read_asked(run.launch, start.number)
    return records.write_exit(run.launch, start, code=None, asked=asked)


def _start_of(run: Run, container: dict[str, Any]) -> Start | None:
    """The record that a container belongs to, by its number and nonce."""
    number, nonce = (str(container["Labels"].get(f"sftplay.{key}", "")) for key in ("start", "nonce"))
    path = records.start_file(run.launch, int(number)) if number.isdecimal() else None
    if path is None or not path.is_file():
        return None
    start = records.read_start(path)
    return start if start.nonce == nonce else None
