"""The working directory, changed for a while. (`contextlib.chdir` is Python 3.11's.)"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """Work in a folder, and return to where it was."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
