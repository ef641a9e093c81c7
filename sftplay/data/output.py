"""A data stage's output folder: its files change together or not at all, and the next stage can
tell what it read.

New files are written into a temporary folder inside the output folder (the folder itself may be a
mount, and git keeps it), fsynced, and renamed over the old ones at the end; the stamp goes first
and comes back last, so it never vouches for a mixture.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sftplay.content import Advance, content_hash, ignore
from sftplay.errors import NotFoundError
from sftplay.files import explain_os_error, fsync_dir, hash_json
from sftplay.freshness import STAMP, DataStamp
from sftplay.locks import hold
from sftplay.temporary import sweep, temporary_folder

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
Marks = Mapping[str, Mapping[str, Any]]  # file name → {"size", "mtime_ns", "hash"}


@contextmanager
def new_files(folder: Path, stage: str) -> Iterator[Path]:
    """Yield an empty temporary folder; when the block ends well, its files replace those of
    `folder` in one go.

    Raises:
        BusyError: another process writes there (75). StorageError: disk full (74).
            PermissionDeniedError (77).
    """
    try:
        with hold(
            folder / ".lock", what="this folder", who=stage, todo="wait for it to end, or stop it"
        ):
            sweep(folder)  # what a killed process left behind
            with temporary_folder(folder / stage) as tmp:
                yield tmp
                _replace(folder, tmp)
    except OSError as error:
        raise explain_os_error(error, folder) from error


def _replace(folder: Path, tmp: Path) -> None:
    names = sorted((path.name for path in tmp.iterdir()), key=lambda name: (name == STAMP, name))
    for name in names:
        with open(tmp / name, "rb") as written:
            os.fsync(written.fileno())
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, _SIGNALS
    )  # a few renames: Ctrl-C waits for them
    try:
        if STAMP in names:
            (folder / STAMP).unlink(missing_ok=True)
        for name in names:
            os.replace(tmp / name, folder / name)
        fsync_dir(folder)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def marks(
    folder: Path, names: Iterable[str], advance: Advance = ignore
) -> dict[str, dict[str, Any]]:
    """Return size, time and content hash of files in `folder`: for the stamp's facts under `files`."""
    return {name: mark(folder / name, advance) for name in names}


def mark(path: Path, advance: Advance = ignore) -> dict[str, Any]:
    """Return size, time of last change and content hash of one file; `advance` is told the bytes as
    they are read.
    """
    try:
        stat = path.stat()
        return {
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "hash": content_hash(path, advance),
        }
    except OSError as error:
        raise explain_os_error(error, path) from error


def remembered(path: Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `mark(path)`, without reading the file where size and time are still those of a mark
    made before.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise explain_os_error(error, path) from error
    if known and (known["size"], known["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
        return dict(known)
    return mark(path)


def hash_of(files: Marks) -> str:
    """Return one hash over names and contents of marked files; their times do not count."""
    return hash_json([[name, files[name]["hash"]] for name in sorted(files)])


def source_of(folder: Path, names: Iterable[str], stamp: DataStamp | None) -> str:
    """Hash of what the next stage reads from `folder`: files edited by hand count as changed input.

    The marks in `stamp`, the folder's own, spare reading files that nobody touched.

    Raises:
        NotFoundError: a file is gone (66).
    """
    known: Marks = stamp.facts.get("files", {}) if stamp else {}
    return hash_of({name: remembered(folder / name, known.get(name)) for name in names})


def lost_file(folder: Path, stamp: DataStamp | None) -> str | None:
    """Explain why the stage has to run again although nothing it reads changed: a file that it
    wrote is gone.
    """
    names = stamp.facts.get("files", {}) if stamp else {}
    gone = [name for name in names if not (folder / name).is_file()]
    return f"{gone[0]} is gone" if gone else None


def require_rows(folder: Path, names: Iterable[str], todo: str) -> None:
    """Raise NotFoundError (66) with what to type where the stage before has not run."""
    for name in names:
        if not (folder / name).is_file():
            raise NotFoundError(
                "no such file: the stage before has not run", where=str(folder / name), todo=todo
            )
