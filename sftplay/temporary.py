"""Temporary files and folders next to what they will become.

Each is locked while its writer lives, so that the next writer can tell what a killed one left
behind, also one in a container, whose process numbers mean nothing here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TMP_PREFIX = ".tmp-"
_UNLOCKED = 0.05  # seconds in which a new one is not locked yet


def temporary_name(target: Path) -> Path:
    """Return a name next to `target` that nobody else uses."""
    return target.with_name(f"{TMP_PREFIX}{target.name}.{os.getpid()}.{os.urandom(3).hex()}")


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder next to `target`, to be filled and renamed; it is removed otherwise."""
    folder = temporary_name(target)
    folder.mkdir(parents=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mark_in_use(held)
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)


def mark_in_use(fd: int) -> None:
    """Lock an open temporary file or folder until it is closed."""
    with contextlib.suppress(OSError):  # a file system without locks: nothing of it is ever swept
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files and folders in `folder` whose writer is dead.

    Args:
        name: only those of this target; default: all.
    """
    pattern = f"{TMP_PREFIX}{glob.escape(name)}.*" if name else f"{TMP_PREFIX}*"
    for leftover in folder.glob(pattern):
        if _is_in_use(leftover):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                leftover.unlink()


def _is_in_use(path: Path) -> bool:
    """Return whether a living process writes there, or nobody can tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return error.errno != errno.ELOOP  # nobody writes to a link
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return 0 <= time.time() - os.fstat(fd).st_ctime < _UNLOCKED
    except OSError:
        return True
    finally:
        os.close(fd)
