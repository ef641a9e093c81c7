"""The project's folders, each with a .gitkeep, and .env with what compose.yaml has to know of this
machine.
"""

from __future__ import annotations

import os
from pathlib import Path

from sftplay import console
from sftplay.errors import StorageError
from sftplay.files import atomic_open, explain_os_error
from sftplay.host.containers.host_identity import choose_user, memory_limit
from sftplay.host.system import machine
from sftplay.places import DATA_FOLDERS, OUTPUTS, cache_folder

FOLDERS = (Path("data/raw"), *(Path("data") / kind for kind in DATA_FOLDERS), OUTPUTS)
ENV_FILE = Path(".env")
WITHOUT_GPU = "compose.yaml:compose.cpu.yaml"


def setup() -> list[Path]:
    """Make what is missing; what is there stays as it is.

    Returns:
        The folders and files that were made or changed.

    Raises:
        PermissionDeniedError: not writable (77). StorageError: disk full or a file where a folder
            should be (74).
    """
    made = [keep.parent for keep in (folder / ".gitkeep" for folder in FOLDERS) if _keep(keep)]
    made += [cache_folder()] if _make_cache() else []
    made += [ENV_FILE] if _write_env(compose_variables()) else []
    names = ", ".join(str(path) for path in made)
    console.success(
        f"made: {names}" if made else "folders are there already: data/raw, outputs and the others"
    )
    return made


def _keep(keep: Path) -> bool:
    """Make the folder with its .gitkeep; whether anything was missing."""
    blocker = next(
        (p for p in (keep.parent, *keep.parent.parents) if p.exists() and not p.is_dir()), None
    )
    if blocker is not None:
        raise StorageError(
            "a file is in the place of a folder",
            where=str(blocker),
            todo=f"mv {blocker} {blocker}.old",
        )
    try:
        if keep.is_file():
            return False
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.touch()
    except OSError as error:
        raise explain_os_error(error, keep) from error
    return True


def compose_variables(dev: Path = Path("/dev")) -> dict[str, str]:
    """Return what compose.yaml reads from .env: user, model cache, memory limit, the override
    without a GPU.

    Args:
        dev: where device files lie.
    """
    owner = Path().stat()
    user = choose_user(
        (os.geteuid(), os.getegid()), (owner.st_uid, owner.st_gid), rootless=False
    ).value
    uid, _, gid = user.partition(":")
    here = machine.read_machine(dev=dev)
    found = {
        "SFTPLAY_UID": uid,
        "SFTPLAY_GID": gid,
        "SFTPLAY_CACHE": str(cache_folder().absolute()),
    }
    found["SFTPLAY_MEMORY"] = str(memory_limit(os.environ.get("SFTPLAY_MEMORY"), here.memory))
    return found if here.has_gpu else {**found, "COMPOSE_FILE": WITHOUT_GPU}


def _make_cache() -> bool:
    """The model cache, which a container can only have mounted where it exists; whether it was
    missing.
    """
    folder = cache_folder()
    try:
        missing = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    return missing


def _write_env(wanted: dict[str, str]) -> bool:
    """Set these variables in .env, keep its other lines and its mode; whether it changed.

    A person may keep tokens in the same file, so it never gets wider rights than it had. Their own
    COMPOSE_FILE and memory stay.
    """
    try:
        there = ENV_FILE.is_file()
        mode = ENV_FILE.stat().st_mode & 0o777 if there else 0o600
        old = (
            ENV_FILE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            if there
            else []
        )
    except OSError as error:
        raise explain_os_error(error, ENV_FILE) from error
    kept = [line for line in old if not _is_ours(line)]
    theirs = {line.partition("=")[0].strip() for line in kept}
    wanted = {name: value for name, value in wanted.items() if name not in theirs}
    new = [*kept, *(f"{name}={value}" for name, value in wanted.items())]
    if sorted(new) == sorted(old):
        return False
    with atomic_open(ENV_FILE) as out:
        os.fchmod(out.fileno(), mode)
        out.write(("\n".join(new) + "\n").encode("utf-8", "surrogateescape"))
    return True


def _is_ours(line: str) -> bool:
    """A line that is written again each time: of COMPOSE_FILE only our own value."""
    name, _, value = line.partition("=")
    return name.strip() in ("SFTPLAY_UID", "SFTPLAY_GID", "SFTPLAY_CACHE") or (
        (name.strip(), value.strip()) == ("COMPOSE_FILE", WITHOUT_GPU)
    )
