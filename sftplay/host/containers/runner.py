"""A stage of this project in a container: what its specification needs to know is looked up here, the folders are made here."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sftplay.files import explain_os_error
from sftplay.host.containers import available, mounts
from sftplay.host.containers import host_identity as callers
from sftplay.host.containers import lifecycle as containers
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.host_identity import Caller
from sftplay.host.containers.interactive import run_interactive, wants_terminal
from sftplay.host.containers.mounts import Bind
from sftplay.host.containers.spec import ContainerSpec, project_of, stage_spec
from sftplay.host.containers.training import ContainerSeat
from sftplay.host.containers.variables import CA_VARIABLES
from sftplay.host.protocol.call import Call
from sftplay.host.protocol.hub import token_file
from sftplay.host.protocol.records import Start
from sftplay.host.system.machine import Machine
from sftplay.places import cache_folder
from sftplay.runs import Run
from sftplay.stages import Job

FOLDERS = ("data/raw", "outputs", "configs")


def run(engine: Engine, call: Call, job: Job, facts: Machine, stack: str, device: str) -> int:
    """Run a stage that is no training to its end, with this terminal. Returns its exit code."""
    image = available.image_of(engine, stack)
    caller = _caller(engine, call, facts)
    named = _named(call, job, caller)
    make_folders(caller)
    containers.sweep(engine, project_of(caller.root))
    terminal = wants_terminal(call)
    with token_file(os.environ if call.stage.network else {}) as token:
        spec = stage_spec(
            call,
            image,
            caller,
            nonce=secrets.token_hex(16),
            named=named,
            run=job.run_name if call.stage.run else "",
            device=device,
            token=_token(token, caller),
            terminal=terminal,
        )
        return run_interactive(engine, spec) if terminal else containers.run_foreground(engine, spec)


def seat(engine: Engine, call: Call, job: Job, facts: Machine, stack: str, device: str) -> ContainerSeat:
    """Where a training runs in `stack`'s image."""
    image = available.image_of(engine, stack)
    caller = _caller(engine, call, facts)
    named = _named(call, job, caller)
    target = Run(job.run_name)

    def spec(start: Start) -> ContainerSpec:
        begun = Call(call.stage, argv_override=start.argv)
        return stage_spec(
            begun, image, caller, nonce=start.nonce, named=named, run=target.name, start=start.number, device=device
        )

    def before() -> None:
        make_folders(caller)
        _give(caller, target.folder, *target.folder.rglob("*"))  # the records, and what preflight wrote

    return ContainerSeat(engine, image, spec, before)


def make_folders(caller: Caller) -> None:
    """What is mounted has to be there, and be the person's: the engine would make it as root, or refuse.

    Raises:
        SftplayError: it can't be made (77, 74).
    """
    for folder in (*(Path(name) for name in FOLDERS), cache_folder()):
        if not folder.is_dir():
            try:
                folder.mkdir(parents=True)
            except OSError as error:
                raise explain_os_error(error, folder) from error
            _give(caller, folder)


def _give(caller: Caller, *paths: Path) -> None:
    """Root working in another's project: what this process makes there belongs to the owner, as whom containers run."""
    uid, _, gid = caller.user.partition(":")
    if os.geteuid() != 0 or int(uid) == 0:
        return
    for path in paths:
        if path.exists() and path.lstat().st_uid == 0:
            os.chown(path, int(uid), int(gid), follow_symlinks=False)


def give_back(folder: Path) -> None:
    """What root wrote into a run of another's project (records, locks) becomes the owner's, who could not go on with it otherwise."""
    owner = Path().stat()
    if os.geteuid() != 0 or owner.st_uid == 0 or not folder.is_dir():
        return
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid == 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _caller(engine: Engine, call: Call, facts: Machine) -> Caller:
    """For fetch run by root, the owner of the cache counts: that is what it writes."""
    return callers.look(
        facts,
        rootless=engine.rootless,
        writes=cache_folder() if call.stage.network or call.stage.writes_cache else Path(),
    )


def _named(call: Call, job: Job, caller: Caller) -> tuple[Bind, ...]:
    named = mounts.gather(call, job, Path(caller.root))
    if not call.stage.network:
        return named
    # A proxy's own authority: the file that the variable names is seen under the same name.
    files = {caller.passed[name] for name in CA_VARIABLES if name in caller.passed}
    return (
        *named,
        *(Bind(os.path.realpath(file), file, read_only=True) for file in sorted(files) if Path(file).is_file()),
    )


def _token(token: dict[str, str], caller: Caller) -> str | None:
    """The file with the hub's token, readable for the user that the container runs as."""
    given = token.get("HF_TOKEN_PATH")
    if given is not None:
        _give(caller, Path(given))
        return given
    for path in (os.environ.get("HF_TOKEN_PATH"), _hub_home() / "token"):
        if path and Path(path).is_file():
            return str(Path(path).absolute())
    return None


def _hub_home() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface")
