"""Small disks for tests: a tmpfs with little room, or with few files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs on a folder; the test is skipped where that is not permitted.

    Args:
        options: as mount(8) has them: `size=400k`, `nr_inodes=40`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_inodes(folder: Path) -> None:
    """Make files until there is room for no other."""
    try:
        for number in range(1_000_000):
            (folder / f"filler-{number}").touch()
    except OSError:
        return
