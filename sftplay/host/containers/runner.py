"""The docker runner: what a stage's specification needs is looked up here, the container is run by
its neighbors.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sftplay.call import StageCall
from sftplay.host.containers import available, host_identity, lifecycle, mounts
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.host_identity import HostIdentity
from sftplay.host.containers.interactive import needs_terminal, run_interactive
from sftplay.host.containers.mounts import Mount
from sftplay.host.containers.ownership import hand_to_user, make_folders
from sftplay.host.containers.spec import project_of, stage_spec
from sftplay.host.containers.training import ContainerTrainingRunner
from sftplay.host.containers.variables import CA_VARIABLES
from sftplay.host.protocol.hub import VARIABLE, TokenFile, private_file
from sftplay.host.system.machine import Machine
from sftplay.places import cache_folder
from sftplay.stages import Job


def run_stage(
    engine: Engine, call: StageCall, job: Job, machine: Machine, stack: str, device: str
) -> int:
    """Run a stage that is no training to its end, with this terminal. Returns its exit code."""
    image = available.image_of(engine, stack)
    identity = _identity(engine, call, machine)
    named = _named_mounts(call, job, identity)
    make_folders(identity)
    lifecycle.sweep(engine, project_of(identity.root))
    terminal = needs_terminal(call)
    with private_file(os.environ if call.stage.network else {}) as token:
        spec = stage_spec(
            call,
            image,
            identity,
            nonce=secrets.token_hex(16),
            named=named,
            run=job.run_name if call.stage.run else "",
            device=device,
            token=_token(token, identity) if call.stage.network else None,
            terminal=terminal,
        )
        if terminal:
            return run_interactive(engine, spec)
        return lifecycle.run_foreground(
            engine, spec, started=token.discard if token else lambda: None
        )


def training_runner(
    engine: Engine, call: StageCall, job: Job, machine: Machine, stack: str, device: str
) -> ContainerTrainingRunner:
    """Return what starts a training in `stack`'s image."""
    identity = _identity(engine, call, machine)
    named = _named_mounts(call, job, identity)
    return ContainerTrainingRunner(
        engine, available.image_of(engine, stack), identity, named, device
    )


def _identity(engine: Engine, call: StageCall, machine: Machine) -> HostIdentity:
    """Find out who containers run as.

    For fetch run by root, the owner of the cache counts: that is what it writes.
    """
    writes = cache_folder() if call.stage.network or call.stage.writes_cache else Path()
    return host_identity.identify_host(machine, rootless=engine.rootless, writes=writes)


def _named_mounts(call: StageCall, job: Job, identity: HostIdentity) -> tuple[Mount, ...]:
    named = mounts.gather(call, job, Path(identity.root))
    if not call.stage.network:
        return named
    # A proxy's own authority: the file that the variable names is seen under the same name.
    files = {identity.passed[name] for name in CA_VARIABLES if name in identity.passed}
    return (
        *named,
        *(
            Mount(os.path.realpath(file), file, read_only=True)
            for file in sorted(files)
            if Path(file).is_file()
        ),
    )


def _token(token: TokenFile | None, identity: HostIdentity) -> str | None:
    """Return the file with the hub's token, readable for the user that the container runs as."""
    if token is not None:
        hand_to_user(identity, token.path)
        return str(token.path)
    for path in (os.environ.get(VARIABLE), _hub_home() / "token"):
        if path and Path(path).is_file():
            return str(Path(path).absolute())
    return None


def _hub_home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface")
