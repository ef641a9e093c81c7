"""The project's folders, each with a .gitkeep, and .env with the ids that compose.yaml runs its containers as."""

from __future__ import annotations

import os
from pathlib import Path

from sftplay import console
from sftplay.errors import StorageError
from sftplay.files import atomic_open, explain_os_error
from sftplay.places import DATA_FOLDERS, OUTPUTS

FOLDERS = (Path("data/raw"), *(Path("data") / kind for kind in DATA_FOLDERS), OUTPUTS)
ENV_FILE = Path(".env")


def setup() -> list[Path]:
    """Make what is missing; what is there stays as it is.

    Returns:
        The folders and files that were made or changed.

    Raises:
        PermissionDeniedError: not writable (77). StorageError: disk full or a file where a folder should be (74).
    """
    made = [keep.parent for keep in (folder / ".gitkeep" for folder in FOLDERS) if _keep(keep)]
    if _write_ids():
        made.append(ENV_FILE)
    names = ", ".join(str(path) for path in made)
    console.success(f"made: {names}" if made else "folders are there already: data/raw, outputs and the others")
    return made


def _keep(keep: Path) -> bool:
    """Make the folder with its .gitkeep; whether anything was missing."""
    blocker = next((p for p in (keep.parent, *keep.parent.parents) if p.exists() and not p.is_dir()), None)
    if blocker is not None:
        raise StorageError(
            "a file stands where a folder should be", where=str(blocker), todo=f"mv {blocker} {blocker}.old"
        )
    try:
        if keep.is_file():
            return False
        keep.parent.mkdir(parents=True, exist_ok=True)
        keep.touch()
    except OSError as error:
        raise explain_os_error(error, keep) from error
    return True


def _write_ids() -> bool:
    """Set SFTPLAY_UID and SFTPLAY_GID in .env, keep its other lines and its mode; whether it changed.

    A person may keep tokens in the same file, so it never gets wider rights than it had.
    """
    ids = {"SFTPLAY_UID": os.getuid(), "SFTPLAY_GID": os.getgid()}
    wanted = [f"{name}={value}" for name, value in ids.items()]
    try:
        there = ENV_FILE.is_file()
        mode = ENV_FILE.stat().st_mode & 0o777 if there else 0o600
        old = ENV_FILE.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if there else []
    except OSError as error:
        raise explain_os_error(error, ENV_FILE) from error
    if set(wanted) <= set(old):
        return False
    kept = [line for line in old if line.partition("=")[0].strip() not in ids]
    with atomic_open(ENV_FILE) as out:
        os.fchmod(out.fileno(), mode)
        out.write(("\n".join([*kept, *wanted]) + "\n").encode("utf-8", "surrogateescape"))
    return True
