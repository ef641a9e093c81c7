"""One container from create to remove: its output byte for byte, signals passed on, its end read,
nothing left behind.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from sftplay import console
from sftplay.errors import EXIT_MEANINGS, SftplayError
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors, engine_gone, explain_engine_error, is_gone
from sftplay.host.containers.spec import ContainerSpec
from sftplay.host.containers.stop import pass_signals_on, quietly
from sftplay.host.protocol.ends import explain_end
from sftplay.host.ui.terminal import copy

_POLL = 0.1
_LEFT_BEHIND = 60.0  # seconds after its end in which a container is still its launcher's


@dataclass(frozen=True)
class ContainerEnd:
    """The end of a container.

    Attributes:
        oom: the engine says that the kernel killed it for memory.
        vanished: somebody removed it while it was watched.
    """

    code: int
    oom: bool = False
    vanished: bool = False


def run_foreground(
    engine: Engine, spec: ContainerSpec, started: Callable[[], None] = lambda: None
) -> int:
    """Run a stage's container with this terminal: stdout to stdout, stderr to stderr. Returns its
    exit code.

    Args:
        started: called once the container runs.

    Raises:
        SftplayError: the engine refused, or went away.
    """
    with created(engine, spec) as container, pass_signals_on(engine, container) as received:
        output = Output(
            engine.api.attach(container, stream=True, logs=True, demux=True), to_stdout=True
        )
        start(engine, container)
        started()
        while not output.over:
            wait_a_moment(engine, container, output)
        end = read_end(engine, container, spec.command[0], again="inv ps shows it")
    if output.broken and end.code in (143, 137):
        return 141  # the reader of a pipe went away, as in `inv data.show | head`
    explain(spec.command[0], end, asked=bool(received))
    return end.code


@contextmanager
def created(engine: Engine, spec: ContainerSpec) -> Iterator[str]:
    """The container's id; it is removed whatever happens, except where the engine is gone: then it
    may still run.
    """
    container = create(engine, spec)
    try:
        yield container
    except SftplayError as problem:
        if not is_gone(problem):
            remove(engine, container, force=True)
        raise
    except BaseException:
        remove(engine, container, force=True)
        raise
    remove(engine, container, force=True)


def create(engine: Engine, spec: ContainerSpec) -> str:
    """Make it; nothing of it runs yet. Returns its id."""
    with engine_errors(f"start {spec.command[0]}"):
        return str(
            engine.api.create_container(**spec.create_arguments(engine.api.api_version))["Id"]
        )


def start(engine: Engine, container: str) -> None:
    """Start what was created."""
    with engine_errors("start the container"):
        engine.api.start(container)


def remove(engine: Engine, container: str, *, force: bool) -> bool:
    """Remove it. False where it runs (and `force` is off) or the engine does not answer; one that
    is gone already counts as removed.
    """
    import docker.errors
    import requests

    try:
        engine.api.remove_container(container, force=force, v=True)
    except docker.errors.NotFound:
        return True
    except docker.errors.APIError as error:
        return "already in progress" in str(error)  # another one removes it right now
    except requests.RequestException:
        return False
    return True


class Output:
    """A container's output on its way to this terminal, in a thread of its own: it ends when the
    stream does.
    """

    def __init__(self, stream: Any, *, to_stdout: bool = False) -> None:
        self.broken = False
        self._stream, self._to = stream, 1 if to_stdout else 2
        sys.stdout.flush()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Return whether the stream has ended: the container did, or the engine is gone."""
        return not self._thread.is_alive()

    def finish(self, seconds: float) -> None:
        """Wait for the last words."""
        self._thread.join(seconds)

    def _pump(self) -> None:
        try:
            for out, err in self._stream:
                if err:
                    copy(err, 2)
                if out and not copy(out, self._to):
                    self.broken = True
        except Exception:  # noqa: BLE001 - whatever ends the stream, `wait` finds out what it was
            return


def wait_a_moment(engine: Engine, container: str, output: Output) -> None:
    """Let a tenth of a second pass; stop a container whose output nobody reads any more."""
    if output.broken:
        quietly(lambda: engine.api.kill(container, signal="SIGTERM"))
    output.finish(_POLL)


def read_end(engine: Engine, container: str, name: str, *, again: str) -> ContainerEnd:
    """Wait for the container's end and read it from the engine. The end of its output may only mean
    that the engine stops.

    Args:
        again: what a person does where the engine is gone.

    Raises:
        MachineError: the engine is gone (69).
    """
    import docker.errors
    import requests

    try:
        code = int(engine.api.wait(container)["StatusCode"])
    except docker.errors.NotFound:
        return ContainerEnd(137, vanished=True)
    except (requests.RequestException, docker.errors.DockerException) as error:
        if is_gone(error) or not isinstance(error, docker.errors.APIError):
            raise engine_gone(name, again) from error
        raise explain_engine_error(error, f"wait for {name}") from error
    state = inspect(engine, container)
    if state is None:
        return ContainerEnd(code, vanished=True)
    return ContainerEnd(int(state.get("ExitCode", code)), oom=bool(state.get("OOMKilled")))


def inspect(engine: Engine, container: str) -> dict[str, Any] | None:
    """The engine's `State` of a container; None where there is none."""
    import docker.errors

    try:
        with engine_errors("look at the container"):
            return dict(engine.api.inspect_container(container)["State"])
    except SftplayError as problem:
        if isinstance(problem.__cause__, docker.errors.NotFound):
            return None
        raise


def explain(name: str, end: ContainerEnd, *, asked: bool = False) -> None:
    """A line for an end that the stage itself could not explain.

    Args:
        asked: a person asked for it.
    """
    if end.vanished:
        console.error(f"{name}: its container was removed while it ran")
    elif end.oom:
        console.error(f"{name} ended with {end.code}: out of memory, killed by the kernel")
        console.info(
            "next: a smaller train.batch_size or model.max_length, or more memory (SFTPLAY_MEMORY=16g)"
        )
    elif end.code == 137 and not asked:
        console.error(
            f"{name} ended with 137: killed from outside, not for memory (docker kill, or the host was short of it)"
        )
    elif not (asked and end.code in EXIT_MEANINGS):
        explain_end(name, end.code)


def sweep(engine: Engine, project: str) -> None:
    """Remove containers whose launcher was killed before it could: ended for a minute, and not a
    training's, which is harvested.
    """
    with engine_errors("look for leftovers"):
        listed = engine.api.containers(
            all=True, filters={"label": f"sftplay.project={project}", "status": "exited"}
        )
    for found in listed:
        state = (
            None
            if found["Labels"].get("sftplay.stage") == "train"
            else inspect(engine, found["Id"])
        )
        if state is not None and _seconds_since(str(state.get("FinishedAt", ""))) > _LEFT_BEHIND:
            remove(engine, found["Id"], force=False)


def _seconds_since(moment: str) -> float:
    """The engine's times are UTC with nanoseconds."""
    try:
        ended = datetime.fromisoformat(moment[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return 0
    return (datetime.now(timezone.utc) - ended).total_seconds()
