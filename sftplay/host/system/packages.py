"""Contents of an environment: what was there when it was made, and what is missing now.

Standard library only: the set-up asks too. Nothing is run and no package is imported.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

_VARIABLE = {"__pycache__", "sftplay-set-up", "sftplay.json"}


def contents(environment: Path) -> list[str]:
    """Return its programs, and the top-level names of its packages with the Python that they are
    for: `bin/inv`, `lib/python3.11/site-packages/invoke`.
    """
    folders = [environment / "bin", *sorted(environment.glob("lib/python3*/site-packages"))]
    found = []
    for folder in folders:
        place = folder.relative_to(environment)
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        found += [f"{place}/{name}" for name in names if name not in _VARIABLE]
    return found


def missing(environment: Path, recorded: Iterable[str]) -> list[str]:
    """Return what was recorded by `contents` and is not there any more; a link that leads nowhere is
    not there.
    """
    there = set(contents(environment))
    gone = [name for name in recorded if name not in there]
    return gone + [
        f"bin/{name}"
        for name in ("python", "python3")
        if f"bin/{name}" in there and not (environment / "bin" / name).exists()
    ]


def damaged_files(environment: Path) -> list[str]:
    """Return the files of installed packages that are missing or have another size than their
    package says. Takes a second where there are many.
    """
    found = []
    for site in environment.glob("lib/python3*/site-packages"):
        for record in site.glob("*.dist-info/RECORD"):
            with open(record, encoding="utf-8", errors="replace", newline="") as rows:
                found += [
                    row[0]
                    for row in csv.reader(rows)
                    if len(row) == 3 and not row[0].endswith(".pyc") and _differs(site, *row)
                ]
    return found


def _differs(site: Path, name: str, digest: str, size: str) -> bool:
    try:
        there = os.stat(os.path.join(site, name)).st_size
    except OSError:
        return True
    return bool(digest) and size.isdecimal() and there != int(size)
