"""Room on a disk, asked before what needs it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from sftplay.errors import StorageError
from sftplay.files import human_size


def require_room(folder: Path, wanted: int, what: str, todo: str = "free some space") -> None:
    """Refuse to begin what the disk of a folder has no room for.

    Args:
        wanted: bytes; what: that requires them.

    Raises:
        StorageError: there is less (74).
    """
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise StorageError(
            f"{what} requires {human_size(wanted)}, and the disk has {human_size(free)} left",
            where=str(folder),
            todo=f"{todo}, then run the same command again",
        )
