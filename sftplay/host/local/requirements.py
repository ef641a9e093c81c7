"""Ranges of images/<stack>/requirements.in, and packages compared with them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from sftplay.host.system.checkout import CHECKOUT


@dataclass(frozen=True)
class PackageCheck:
    """Comparison of what a Python has with a stack's ranges.

    Attributes:
        missing: requirements that no package answers.
        outside: (requirement, version that is there instead).
    """

    missing: tuple[Requirement, ...] = ()
    outside: tuple[tuple[Requirement, str], ...] = ()

    @property
    def fits(self) -> bool:
        """Return whether every package is there, in its range."""
        return not self.missing and not self.outside

    def pip_line(self, python: Path, *, missing_only: bool = False) -> str:
        """Return the command that installs what is missing, and what is outside its range."""
        wanted = [*self.missing, *(() if missing_only else (one for one, _ in self.outside))]
        return shlex.join([str(python), "-m", "pip", "install", *map(_as_typed, wanted)])


def read_requirements(stack: str) -> tuple[Requirement, ...]:
    """Return the ranges of a stack's packages, those of the files that it includes too."""
    return _read(CHECKOUT / "images" / stack / "requirements.in")


def compare(requirements: tuple[Requirement, ...], packages: Mapping[str, str]) -> PackageCheck:
    """Compare packages with ranges. Pure.

    Args:
        packages: version by canonical name.
    """
    missing, outside = [], []
    for wanted in requirements:
        version = packages.get(canonicalize_name(wanted.name))
        if version is None:
            missing.append(wanted)
        elif not _accepts(wanted, version):
            outside.append((wanted, version))
    return PackageCheck(tuple(missing), tuple(outside))


def _accepts(wanted: Requirement, version: str) -> bool:
    """A vendor's own build (2.13.0a0+nv) is compared like any other version."""
    try:
        return wanted.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _read(path: Path) -> tuple[Requirement, ...]:
    found: list[Requirement] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].strip()
        if words.startswith("-r "):
            found += _read(path.parent / words.removeprefix("-r ").strip())
        elif words and not words.startswith("-"):
            found.append(Requirement(words))
    return tuple(found)


def _as_typed(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"
