"""A Python that the user already has, for the runner `active`: found, looked at, never changed.

A cloud notebook, an HPC module or a vendor's image brings torch for its own GPU. Its packages are
compared with the ranges that a stack's lock was made from, and the hash of all of them stands in
the stamp in place of a lock.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from sftplay import console
from sftplay.errors import MachineError, NotFoundError
from sftplay.files import hash_json
from sftplay.host.local import environments
from sftplay.host.local.environments import Environment
from sftplay.host.local.requirements import PackageCheck, compare, read_requirements
from sftplay.host.system.checkout import CHECKOUT, HIDDEN_PATH, VENV

NAME = "active"
PYTHON, PYTHON_BNB = "SFTPLAY_PYTHON", "SFTPLAY_PYTHON_BNB"
OLDEST, NEWEST = (3, 10), (3, 13)  # the stages' code; the versions that it was tried with
_LOOK = """
import importlib.metadata, json, sys
found = {}
for one in importlib.metadata.distributions():
    name = one.metadata["Name"]
    if name and name not in found:
        found[name] = one.version
print(json.dumps({"version": list(sys.version_info[:3]), "build": sys.version, "packages": found}))
"""


def named() -> str:
    """Return the Python that SFTPLAY_PYTHON names; empty where it is not set."""
    return os.environ.get(PYTHON, "")


def other(backend: str) -> str:
    """Return the Python that SFTPLAY_PYTHON_BNB names for this backend; empty: the same as always."""
    return "" if backend == "unsloth" else os.environ.get(PYTHON_BNB, "")


def environment(backend: str, requested: str, stack: str) -> Environment:
    """Return the environment in which a backend's stages run under the runner `active`.

    Args:
        requested: the config's backend. Where it is Unsloth and `backend` is not, the run was
            handed over, and the same Python serves only if its packages are in BnB's ranges.
        stack: the locked environment to take where it does not.

    Raises:
        NotFoundError: no such Python (66). MachineError: it is too old, or packages are missing
            (69).
    """
    given = other(backend)
    python = find(given)
    made, check = look(python, backend)
    if requested == "unsloth" and backend != "unsloth" and not given and not check.fits:
        console.info(
            f"{python} has Unsloth's packages, not those of BnB: the {stack} environment is used "
            f"({PYTHON_BNB}=/path/to/python names another)"
        )
        return environments.ensure(stack)
    _report(made, backend, check)
    return made


def find(given: str = "") -> Path:
    """Return the Python that is meant: `given`, SFTPLAY_PYTHON, an active environment's, or the
    first one on the PATH that is not sftplay's own.

    Raises:
        NotFoundError: there is none (66).
    """
    given = given or named()
    if given:
        program = shutil.which(str(Path(given).expanduser()))
        if program is None:
            raise NotFoundError(
                f"{given} is not a program", todo=f"{PYTHON}=/path/to/python, of 3.10 or newer"
            )
        return Path(program).absolute()
    folders = [
        f"{os.environ[name]}/bin"
        for name in ("VIRTUAL_ENV", "CONDA_PREFIX")
        if os.environ.get(name)
    ]
    for folder in [*folders, *os.environ.get("PATH", "").split(os.pathsep)]:
        for name in ("python3", "python"):
            path = Path(folder) / name
            if os.access(path, os.X_OK) and not path.is_relative_to(VENV):
                return path.absolute()
    raise NotFoundError("no Python on the PATH", todo=f"name one: {PYTHON}=/path/to/python")


def look(python: Path, backend: str) -> tuple[Environment, PackageCheck]:
    """Return what a Python has, and how that compares with the ranges of a backend's stack.

    Raises:
        MachineError: it does not start, or is older than 3.10 (69).
    """
    facts = _ask(python, tuple(sorted(package_variables(os.environ).items())))
    version = tuple(facts["version"])
    if version[:2] < OLDEST:
        raise MachineError(
            f"{python} is Python {'.'.join(map(str, version))}; the stages require 3.10 or newer",
            todo=f"name another: {PYTHON}=/path/to/python",
        )
    installed: Mapping[str, str] = facts["packages"]
    packages = {str(canonicalize_name(name)): found for name, found in installed.items()}
    packages.pop("sftplay", None)  # its code is stamped by itself, wherever it was installed
    freeze = (f"Python {facts['build']}", *(f"{a}=={b}" for a, b in sorted(packages.items())))
    made = Environment(NAME, python, "", hash_json(list(freeze)), NAME, freeze)
    stack = "unsloth" if backend == "unsloth" else "bnb"
    return made, compare(read_requirements(stack), packages)


def package_variables(base: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that decide where a stage's Python finds packages: sftplay, then what
    the person's PYTHONPATH adds (modules of an HPC machine put packages there); their own folder of
    packages counts unless they said otherwise.
    """
    own = base.get("PYTHONPATH") or base.get(HIDDEN_PATH, "")
    alone = {"PYTHONNOUSERSITE": base["PYTHONNOUSERSITE"]} if base.get("PYTHONNOUSERSITE") else {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(CHECKOUT), own))), **alone}


def _report(made: Environment, backend: str, check: PackageCheck) -> None:
    """Say once per command what the Python has.

    Raises:
        MachineError: packages are missing (69).
    """
    if check.missing:
        missing = ", ".join(one.name for one in check.missing)
        raise MachineError(
            f"packages that the stages import are missing in {made.python}: {missing}",
            todo=f"{check.pip_line(made.python, missing_only=True)}\n"
            "or use an environment of sftplay's own: --runner local",
        )
    _say_once(_lines(made, backend, check))


@functools.cache
def _say_once(lines: tuple[tuple[str, str], ...]) -> None:
    for kind, line in lines:
        (console.warning if kind == "warning" else console.info)(line)


def _lines(made: Environment, backend: str, check: PackageCheck) -> tuple[tuple[str, str], ...]:
    version = made.freeze[0].split()[1]
    short = made.environment_hash.removeprefix("sha256:")[:12]
    has = f"{made.python}: Python {version}, {len(made.freeze) - 1} packages, freeze {short}"
    stack = "unsloth" if backend == "unsloth" else "bnb"
    if check.fits:
        lines = [("info", f"{has}; all of the {stack} stack's ranges hold")]
    else:
        lines = [("info", has)]
    lines += [
        ("warning", f"{one.name} {found} is outside the {stack} stack's range {one.specifier}")
        for one, found in check.outside
    ]
    if check.outside:
        lines.append(("info", f"nothing is installed unasked; next: {check.pip_line(made.python)}"))
    if tuple(map(int, version.split(".")[:2])) > NEWEST:
        newest = ".".join(map(str, NEWEST))
        lines.append(("warning", f"Python {version} was never tried; the newest tried is {newest}"))
    return tuple(lines)


@functools.cache
def _ask(python: Path, variables: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), "-c", _LOOK],
        env={**kept, **dict(variables)},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MachineError(
            f"{python} does not tell its packages: {said[-1] if said else 'no output'}",
            todo=f"name another Python: {PYTHON}=/path/to/python",
        ) from None
