"""A training in a container: found again by its labels, watched, harvested; its end is on disk
before the container goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.cli import parse_call
from sftplay.errors import ProtocolError
from sftplay.files import write_text
from sftplay.host.containers import lifecycle
from sftplay.host.containers import stop as container_stop
from sftplay.host.containers.collect import collect, vanished
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.lifecycle import ContainerEnd, Output
from sftplay.host.containers.mounts import Mount
from sftplay.host.containers.ownership import hand_to_user, make_folders
from sftplay.host.containers.spec import ContainerImage, ContainerSpec, project_of, stage_spec
from sftplay.host.protocol import records
from sftplay.host.protocol.launch_lock import LaunchLock
from sftplay.host.protocol.records import Exit, Start
from sftplay.host.protocol.signals import GRACE, StopSignals, announce_stop
from sftplay.host.ui.terminal import copy, settled
from sftplay.runs import Run

_TAIL = 40  # lines of earlier output shown when a launcher comes back
_AGAIN = "the same command finds it again"
_ALIVE = ("created", "running", "paused", "restarting")


@dataclass(frozen=True)
class ContainerTrainingRunner:
    """A stack's image, and what the training's container needs to know of this machine.

    Attributes:
        named: mounts for what the command line and the config name outside of the project's
            folders.
        device: `cuda` or `cpu`, asserted by the stage.
        grace: seconds between the first stop and the kill.
    """

    engine: Engine
    image: ContainerImage
    identity: HostIdentity
    named: tuple[Mount, ...]
    device: str
    grace: int = GRACE
    name: str = "docker"

    @property
    def stack(self) -> str:
        return self.image.stack

    @property
    def digest(self) -> str:
        return self.image.digest

    def start(self, run: Run, start: Start, lock: LaunchLock) -> ContainerTraining:
        """Create, attach to and start the training's container. The launcher keeps the lock."""
        make_folders(self.identity)
        hand_to_user(
            self.identity, run.folder, *run.folder.rglob("*")
        )  # the records, and what preflight wrote
        spec = self.spec(run, start)
        if spec.network != "none":
            console.info(
                f"network {spec.network}, host name {spec.hostname}: the ranks of other machines "
                "must reach it (--network)"
            )
        container = lifecycle.create(self.engine, spec)
        try:
            stream = self.engine.api.attach(container, stream=True, logs=True, demux=True)
            lifecycle.start(self.engine, container)
        except BaseException:
            lifecycle.remove(self.engine, container, force=True)
            raise
        return ContainerTraining(self.engine, run, start, container, Output(stream), self.grace)

    def spec(self, run: Run, start: Start) -> ContainerSpec:
        """Return the container of a start."""
        return stage_spec(
            parse_call(start.argv),
            self.image,
            self.identity,
            nonce=start.nonce,
            named=self.named,
            run=run.name,
            start=start.number,
            device=self.device,
        )


@dataclass(frozen=True)
class ContainerTraining:
    """A training that runs in a container, with its output on the way to this terminal."""

    engine: Engine
    run: Run
    start: Start
    container: str
    output: Output
    grace: int = GRACE

    def watch(self, signals: StopSignals) -> Exit | None:
        """Wait for the end, pass stops on, write the end down, remove the container.

        Returns:
            None where this terminal was closed.

        Raises:
            MachineError: the engine is gone (69).
        """
        passed_on = 0
        while not self.output.over:
            if signals.hung_up:
                return None
            if len(signals.stops) > passed_on:
                passed_on += 1
                if passed_on == 1:
                    announce_stop()
                request_stop(
                    self.engine,
                    self.run,
                    self.start,
                    self.container,
                    kill=passed_on > 1,
                    grace=self.grace,
                )
            lifecycle.wait_a_moment(self.engine, self.container, self.output)
        end = lifecycle.read_end(self.engine, self.container, "the training", again=_AGAIN)
        if signals.hung_up:
            return None
        ended = collect(self.engine, self.run, self.start, self.container, end)
        lifecycle.remove(self.engine, self.container, force=True)
        if not end.vanished or ended.code is None:  # else another launcher has harvested it
            lifecycle.explain("train", end, asked=bool(ended.asked))
        return ended


def running(engine: Engine, run: Run) -> Start | None:
    """The start whose container runs now. Containers that never began are removed, ended ones are
    harvested first.

    Raises:
        ProtocolError: a container runs whose record is gone (70).
    """
    for found in of_run(engine, run):
        start = _start_of(run, found)
        state = lifecycle.inspect(engine, found["Id"])
        if state is None:
            continue
        if state["Status"] == "created" and lifecycle.remove(engine, found["Id"], force=False):
            continue
        if state["Status"] in _ALIVE:
            if start is None:
                raise ProtocolError(
                    "a training runs in a container, and the record of its start is gone",
                    where=f"container {found['Id'][:12]}",
                    todo=f"end it: inv stop {run.name}",
                )
            return start
        if start is not None:
            collect(
                engine,
                run,
                start,
                found["Id"],
                ContainerEnd(int(state["ExitCode"]), bool(state["OOMKilled"])),
            )
        lifecycle.remove(engine, found["Id"], force=True)
    return None


@dataclass(frozen=True)
class EndedTraining:
    """A training whose end is known already."""

    end: Exit

    def watch(self, signals: StopSignals) -> Exit | None:
        """Return the end."""
        return self.end


def is_there(engine: Engine, run: Run, start: Start) -> bool:
    """Return whether the container of this start exists, in any state."""
    return any(one["Labels"].get("sftplay.nonce") == start.nonce for one in of_run(engine, run))


def adopt(engine: Engine, run: Run, start: Start) -> ContainerTraining | EndedTraining:
    """Attach to a training that another launcher started, or return its end where its container is
    gone.
    """
    found = next(
        (one for one in of_run(engine, run) if one["Labels"].get("sftplay.nonce") == start.nonce),
        None,
    )
    if found is None:
        return EndedTraining(records.read_exit(run.launch, start) or vanished(run, start))
    with engine_errors("watch the training"):
        tail = engine.api.attach(found["Id"], stream=True, logs=False, demux=True)
        earlier = engine.api.logs(found["Id"], tail=_TAIL)
    console.info("its last lines:")
    copy(settled(earlier).encode())
    # The engine lets a client attach to a container that has ended, and then waits for it to be
    # started again.
    state = lifecycle.inspect(engine, found["Id"])
    if state is not None and state["Status"] in _ALIVE:
        return ContainerTraining(engine, run, start, found["Id"], Output(tail))
    tail.close()
    if state is None:
        return EndedTraining(records.read_exit(run.launch, start) or vanished(run, start))
    end = ContainerEnd(int(state["ExitCode"]), bool(state["OOMKilled"]))
    ended = collect(engine, run, start, found["Id"], end)
    lifecycle.remove(engine, found["Id"], force=True)
    return EndedTraining(ended)


def of_run(engine: Engine, run: Run) -> list[dict[str, Any]]:
    """Containers of this run's trainings, in any state, newest first, as the engine lists them."""
    labels = [
        f"sftplay.project={project_of(str(Path.cwd()))}",
        f"sftplay.run={run.name}",
        "sftplay.stage=train",
    ]
    with engine_errors("look for the run's containers"):
        return list(engine.api.containers(all=True, filters={"label": labels}))


def request_stop(
    engine: Engine, run: Run, start: Start, container: str, *, kill: bool, grace: int = GRACE
) -> Any:
    """Ask a training for its end.

    Written down first: whatever it leaves behind, it is never handed over then.
    """
    write_text(records.asked_file(run.launch, start.number), "kill" if kill else "stop")
    return (
        container_stop.kill_now(engine, container)
        if kill
        else container_stop.stop_soon(engine, container, grace)
    )


def _start_of(run: Run, container: dict[str, Any]) -> Start | None:
    """The record that a container belongs to, by its number and nonce."""
    number, nonce = (
        str(container["Labels"].get(f"sftplay.{key}", "")) for key in ("start", "nonce")
    )
    path = records.start_file(run.launch, int(number)) if number.isdecimal() else None
    if path is None or not path.is_file():
        return None
    start = records.read_start(path)
    return start if start.nonce == nonce else None
