"""Sizes on disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def disk_size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder.

    Links count as themselves and are never followed.
    """
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total, folders = 0, [str(path)]
    while folders:
        # One that goes away, or that is not ours to read, counts nothing.
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
