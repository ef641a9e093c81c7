"""Places of sftplay's own files, and of the project that it works on.

Three cases. In a checkout both are the checkout. Installed from a wheel, the files that lie next to
the package in a checkout (locks, Dockerfile, configs) are package data; they and the package are
unpacked once into the user's cache, so that stages and images see a checkout's layout and nothing
of the environment that pip installed into. The project is then the folder that `sftplay init` made.

Standard library and kernel files only: the set-up reads it too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from sftplay import console
from sftplay.files import explain_os_error
from sftplay.temporary import sweep, temporary_folder

PROJECT_VARIABLE = "SFTPLAY_PROJECT"  # the project's tasks.py sets it to its folder
HIDDEN_PATH = "SFTPLAY_PYTHONPATH"  # the person's PYTHONPATH, which .venv must not see
_PACKAGE = Path(__file__).resolve().parents[2]
_BUNDLE = _PACKAGE / "_bundle"  # made by the build backend (pyproject.toml), not in a checkout


def is_project(folder: Path) -> bool:
    """Tell a folder that `sftplay init` made by its tasks.py."""
    try:
        return PROJECT_VARIABLE in (folder / "tasks.py").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _source() -> Path:
    """The checkout, or the cache's copy; a cache that can't be made ends the program with a word:
    nothing works without it.
    """
    if not _BUNDLE.is_dir():
        return _PACKAGE.parent
    try:
        return _unpacked()
    except OSError as error:
        problem = explain_os_error(error, _cache())
        problem.todo = "SFTPLAY_CACHE=/path/to/folder names another place for sftplay's own files"
        console.failure(problem)
        sys.exit(problem.code)


def _project() -> Path:
    """The folder that tasks.py names, else the nearest project above the working directory, else
    the checkout; the working directory itself where there is none (`sftplay init` makes one).
    """
    if named := os.environ.get(PROJECT_VARIABLE):
        return Path(named)
    try:
        here = Path.cwd()
    except OSError:  # a working directory that was removed
        here = Path("/")
    found = next((folder for folder in (here, *here.parents) if is_project(folder)), None)
    return found or (here if _BUNDLE.is_dir() else _PACKAGE.parent)


def _unpacked() -> Path:
    """The cache's copy of the package and its data files, made where it is missing."""
    folder = _cache() / "source" / _digest()
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        with temporary_folder(folder) as draft:
            shutil.copytree(_BUNDLE, draft, dirs_exist_ok=True)
            skipped = shutil.ignore_patterns("__pycache__", _BUNDLE.name)
            shutil.copytree(_PACKAGE, draft / "sftplay", ignore=skipped)
            try:
                draft.rename(folder)
            except OSError:  # another process was first
                if not folder.is_dir():
                    raise
    return folder


def _digest() -> str:
    """A name for this installation's content: pip's RECORD has the hash of each installed file."""
    records = sorted(_PACKAGE.parent.glob("sftplay-*.dist-info/RECORD"))
    text = records[-1].read_bytes() if records else str(_PACKAGE.stat().st_mtime_ns).encode()
    return hashlib.sha256(text).hexdigest()[:12]


def _cache() -> Path:
    """As places.cache_folder, which imports more than an old Python can read."""
    given = os.environ.get("SFTPLAY_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "sftplay"


CHECKOUT = _source()
PROJECT = _project()
VENV = CHECKOUT / ".venv"
