"""One container of an image on trial, from its creation to its end; its output is kept, and shown
where it fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sftplay import console
from sftplay.errors import MachineError, StoppedError
from sftplay.host.containers import lifecycle as containers
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.spec import ContainerSpec
from sftplay.host.protocol.signals import handle_signals

_SHOWN = 15  # lines of a failure


@dataclass(frozen=True)
class TrialOutcome:
    """Output and end of a container; `oom`: killed because it used more memory than it may."""

    code: int
    stdout: str
    stderr: str
    oom: bool
    seconds: float


def run(engine: Engine, spec: ContainerSpec) -> TrialOutcome:
    """Run a container to its end and remove it, whatever happens.

    Raises:
        MachineError: it can't be made or started, or the engine has gone (69).
    """
    spec = dataclasses.replace(spec, name=f"{spec.name}-trial-{secrets.token_hex(4)}")
    begun = time.monotonic()
    with (
        stops("the trial"),
        containers.created(engine, spec) as container,
        engine_errors(f"run {spec.image}"),
    ):
        containers.start(engine, container)
        code = int(engine.api.wait(container, timeout=None)["StatusCode"])
        state = engine.api.inspect_container(container)["State"]
        out = engine.api.logs(container, stdout=True, stderr=False).decode(errors="replace")
        err = engine.api.logs(container, stdout=False, stderr=True).decode(errors="replace")
    return TrialOutcome(code, out, err, bool(state.get("OOMKilled")), time.monotonic() - begun)


def require(
    engine: Engine,
    spec: ContainerSpec,
    what: str,
    good: Callable[[TrialOutcome], bool] | None = None,
) -> TrialOutcome:
    """Run it, say so, and refuse an outcome other than 0 (or one that is not `good`).

    Raises:
        MachineError: it failed; its last lines are shown (69).
    """
    outcome = run(engine, spec)
    if outcome.code == 0 and (good is None or good(outcome)):
        console.info(f"{what}: works ({outcome.seconds:.0f} s)")
        return outcome
    for line in [*outcome.stdout.splitlines()[-5:], *outcome.stderr.splitlines()[-_SHOWN:]]:
        console.info(f"  {line[:200]}")
    why = "out of memory" if outcome.oom else f"exit code {outcome.code}"
    raise MachineError(
        f"the image is built but does not pass: {what} ({why})",
        where=spec.image,
        todo="the last lines are printed above; it keeps the tag `unverified-…`, inv image.verify tries again",
    )


@contextlib.contextmanager
def stops(what: str) -> Iterator[None]:
    """End at SIGTERM and SIGHUP as at Ctrl-C: what was started is removed on the way out."""

    def stop(signum: int) -> None:
        raise StoppedError(f"{what} was stopped", signum=signum, todo="the same command again")

    with handle_signals(stop, signal.SIGTERM, signal.SIGHUP):
        yield
