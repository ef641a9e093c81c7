"""The project's folders, and .env with what compose.yaml has to know of this machine.

`inv setup-dirs` makes them on the host; `python -m sftplay.setup_files` in a container, for people
without Python on the host (compose.setup.yaml).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from sftplay import console
from sftplay.boundary import Boundary
from sftplay.errors import PermissionDeniedError, StorageError
from sftplay.files import atomic_open, explain_os_error
from sftplay.places import DATA_FOLDERS, OUTPUTS

FOLDERS = (Path("data/raw"), *(Path("data") / kind for kind in DATA_FOLDERS), OUTPUTS)
ENV_FILE = Path(".env")
WITHOUT_GPU = "compose.yaml:compose.cpu.yaml"
# Of the machine's memory: a stage that takes more is killed alone and reported so, instead of the
# host's next best process.
MEMORY_SHARE = 0.95
_CACHE = Path(".cache/sftplay")  # where nobody knows the person's own cache folder
_COMMAND = 'docker compose -f compose.setup.yaml run --rm --user "$(id -u):$(id -g)" setup'
_HOST_DEV = Path("/host/dev")  # where compose.setup.yaml mounts the host's /dev


def make_folders() -> list[Path]:
    """Make the folders that are missing, each with its .gitkeep; returns them.

    Raises:
        PermissionDeniedError: not writable (77). StorageError: disk full or a file where a folder
            should be (74).
    """
    return [folder for folder in FOLDERS if _keep(folder / ".gitkeep")]


def nvidia_devices(dev: Path) -> list[Path]:
    """Return the device files of NVIDIA GPUs (nvidia0 …), or dxg under WSL 2.

    Args:
        dev: where device files lie.
    """
    found = [path for path in sorted(dev.glob("nvidia[0-9]*")) if path.name[6:].isdigit()]
    return found or [path for path in [dev / "dxg"] if path.exists()]


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


def write_env(wanted: Mapping[str, str]) -> bool:
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
    kept = [line for line in old if not _is_ours(line, wanted)]
    theirs = {line.partition("=")[0].strip() for line in kept}
    wanted = {name: value for name, value in wanted.items() if name not in theirs}
    new = [*kept, *(f"{name}={value}" for name, value in wanted.items())]
    if sorted(new) == sorted(old):
        return False
    with atomic_open(ENV_FILE) as out:
        os.fchmod(out.fileno(), mode)
        out.write(("\n".join(new) + "\n").encode("utf-8", "surrogateescape"))
    return True


def _is_ours(line: str, wanted: Mapping[str, str]) -> bool:
    """A line that is written again each time: of COMPOSE_FILE only our own value. Where the source
    lies is known on the host alone: in a container that line stays.
    """
    name, _, value = line.partition("=")
    if name.strip() == "SFTPLAY_SOURCE":
        return "SFTPLAY_SOURCE" in wanted
    return name.strip() in ("SFTPLAY_UID", "SFTPLAY_GID", "SFTPLAY_CACHE") or (
        (name.strip(), value.strip()) == ("COMPOSE_FILE", WITHOUT_GPU)
    )


def main() -> int:
    """Set up the working directory for docker compose, from inside a container that runs as the
    person, who is also whom stages run as.
    """
    with Boundary("setup") as end:
        if not os.access(".", os.W_OK):
            raise PermissionDeniedError(
                f"user {os.getuid()} of this container may not write into the project",
                todo=f"say who you are: {_COMMAND} (under a rootless engine --user 0:0)",
            )
        made = make_folders()
        if not _CACHE.is_dir():
            _CACHE.mkdir(parents=True)
            made.append(_CACHE)
        if write_env(_variables(os.getuid(), os.getgid())):
            made.append(ENV_FILE)
        names = ", ".join(map(str, made)) or "nothing: all of it is there"
        console.success(f"made {names}; stages run as {os.getuid()}:{os.getgid()}")
    return end.code


def _variables(uid: int, gid: int) -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = {
        "SFTPLAY_UID": str(uid),
        "SFTPLAY_GID": str(gid),
        "SFTPLAY_CACHE": f"./{_CACHE}",
        "SFTPLAY_MEMORY": str(int(memory * MEMORY_SHARE)),
    }
    return found if nvidia_devices(_HOST_DEV) else {**found, "COMPOSE_FILE": WITHOUT_GPU}


if __name__ == "__main__":
    sys.exit(main())
