"""Environments of the local runner: `.envs/<stack>-<lock hash>/`, made by uv from the file that the
stack's image is made from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sftplay import console
from sftplay.errors import MachineError, NotFoundError, StorageError
from sftplay.files import hash_file, hash_json, write_json
from sftplay.host.local import installing
from sftplay.host.system import packages
from sftplay.host.system.checkout import CHECKOUT, PROJECT
from sftplay.host.system.machine import read_machine
from sftplay.host.system.setup_lock import one_at_a_time, run_step
from sftplay.host.system.uv import find_uv, uv_environ
from sftplay.temporary import TMP_PREFIX
from sftplay.untrusted import read_json

PYTHON = (3, 11)  # the locks hold wheels for exactly this one
HOST_TESTS = "images/host-test.lock"  # of host<Python>-<lock hash>, which `inv test --python` makes
_MARKER = "sftplay.json"
# Packages without a wheel; built with images/build.lock.
_SOURCE_ONLY = ("rouge-score", "sqlitedict", "word2number")


@dataclass(frozen=True)
class StackSource:
    """The lock that an environment is made from, what making it downloads, and whether its torch is
    PyPI's, with CUDA.
    """

    lock: str
    download: str
    cuda: bool = False


STACKS: Mapping[str, StackSource] = {
    "cpu": StackSource(
        "images/cpu/requirements.lock",
        "about 530 MB: torch for the CPU, transformers, the default model",
    ),
    "bnb": StackSource("images/bnb/requirements.lock", "about 3 GB: torch with CUDA", cuda=True),
    "unsloth": StackSource(
        "images/unsloth/requirements.lock", "about 3 GB: torch with CUDA, Unsloth", cuda=True
    ),
    "export": StackSource(
        "images/export/requirements.lock",
        "about 330 MB: torch for the CPU, transformers, llama.cpp",
    ),
    "dev": StackSource("images/dev.lock", "about 640 MB: the cpu stack and the developer tools"),
    "lm-eval": StackSource(
        "images/lm-eval.lock", "about 620 MB: the cpu stack and lm-eval, for `inv eval --tasks`"
    ),
    "lm-eval-cuda": StackSource(
        "images/lm-eval-cuda.lock",
        "about 3 GB: torch with CUDA and lm-eval, for `inv eval --tasks`",
        cuda=True,
    ),
    "audit": StackSource("images/audit.lock", "about 20 MB: pip-audit, for `inv audit`"),
    "ray": StackSource("images/ray.lock", "about 80 MB: Ray, for `inv batch --engine ray`"),
    "trackio": StackSource("images/trackio.lock", "about 40 MB: trackio, for `inv trackio`"),
    "llamafactory": StackSource(
        "bench/llamafactory.lock", "about 480 MB: LLaMA-Factory, for `inv bench train`"
    ),
}


@dataclass(frozen=True)
class Environment:
    """A finished environment.

    Attributes:
        lock_hash: empty where it was made from no lock of ours.
        runner: `local`, or `active` for a Python that the user already has.
        freeze: every package with its version; only of a Python that no lock describes.
    """

    stack: str
    python: Path
    lock_hash: str
    environment_hash: str
    runner: str = "local"
    freeze: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.python.parent.parent


def envs_folder() -> Path:
    """SFTPLAY_ENVS, else .envs in the project."""
    given = os.environ.get("SFTPLAY_ENVS")
    return Path(given).absolute() if given else PROJECT / ".envs"


def ensure(stack: str, *, every_file: bool = False) -> Environment:
    """The stack's environment, made where it is missing or damaged. Seen to be there in
    milliseconds: what it held when it was made is compared with what it holds now.

    Args:
        every_file: compare each file of its packages too, which takes a second.

    Raises:
        MachineError: no lock for this stack, no Python 3.11, or the packages can't be installed
            (69).
    """
    lock = CHECKOUT / STACKS[stack].lock
    if not lock.is_file():
        raise MachineError(
            f"the {stack} stack's lock is missing",
            where=str(lock),
            todo=f"git checkout -- {STACKS[stack].lock}",
        )
    lock_hash = hash_file(lock)
    folder = _folder(stack, lock_hash)
    made = _read(stack, folder, every_file=every_file)
    if made is not None:
        return made
    with one_at_a_time(folder.parent / f".{folder.name}.lock", f"making {folder.name}") as held:
        # another process may have made it meanwhile
        made = _read(stack, folder, every_file=every_file)
        return made or _make(stack, folder, lock, lock_hash, held)


def install(*, dev: bool = False) -> None:
    """Make the environments of this machine, and repair them: the cpu stack, the bnb stack too
    where a GPU and its lock are here.

    Args:
        dev: the developer tools as well.
    """
    wanted = [
        "cpu",
        *(["bnb"] if read_machine().has_gpu and (CHECKOUT / STACKS["bnb"].lock).is_file() else []),
    ]
    for stack in [*wanted, *(["dev"] if dev else [])]:
        console.success(f"{stack}: {ensure(stack, every_file=True).folder}")
    for folder, current in listing():
        if not current:
            console.info(
                f"an older environment is still there: {folder.name} (`inv clean --envs` removes such)"
            )


def present() -> frozenset[str]:
    """Stacks whose environment is made, from today's lock."""
    return frozenset(
        name
        for name, stack in STACKS.items()
        if (CHECKOUT / stack.lock).is_file()
        and _read(name, _folder(name, hash_file(CHECKOUT / stack.lock)))
    )


def listing() -> list[tuple[Path, bool]]:
    """Every environment here, and whether it is one of today's locks (the others are kept until
    `inv clean --envs`).
    """
    locks = [CHECKOUT / name for name in (*(stack.lock for stack in STACKS.values()), HOST_TESTS)]
    todays = {_short(hash_file(lock)) for lock in locks if lock.is_file()}
    made = [path for path in sorted(envs_folder().glob("*-*")) if (path / _MARKER).is_file()]
    return [(path, path.name.rpartition("-")[2] in todays) for path in made]


def _folder(stack: str, lock_hash: str) -> Path:
    return envs_folder() / f"{stack}-{_short(lock_hash)}"


def _short(lock_hash: str) -> str:
    return lock_hash.removeprefix("sha256:")[:12]


def _read(stack: str, folder: Path, *, every_file: bool = False) -> Environment | None:
    try:
        facts = read_json(folder / _MARKER, lock_hash=str, environment_hash=str)
    except (NotFoundError, StorageError):  # a torn one: the environment is made again
        return None
    python = folder / "bin" / "python"
    made = Environment(stack, python, facts["lock_hash"], facts["environment_hash"])
    gone = packages.missing(folder, facts.get("contents") or ())
    if not gone and every_file:
        gone = packages.damaged_files(folder)
    return made if made.python.exists() and not gone else None


def _make(stack: str, folder: Path, lock: Path, lock_hash: str, held: IO[str]) -> Environment:
    """Build under a temporary name, mark, rename."""
    if folder.exists():
        console.warning(f"the {stack} environment is damaged: making it again")
    console.info(
        f"making the {stack} environment once, {folder.name} ({STACKS[stack].download}; less what uv's cache has)"
    )
    env, backend = uv_environ(os.environ, cuda=STACKS[stack].cuda)
    uv = str(find_uv())
    tmp = folder.with_name(TMP_PREFIX + folder.name)
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.parent.mkdir(parents=True, exist_ok=True)
    python = str(tmp / "bin" / "python")
    _run(
        [uv, "venv", "--quiet", "--clear", "--relocatable", "--python", _base_python(), str(tmp)],
        env,
        _NO_PYTHON,
        held,
    )
    # Not compiled here: all 12,900 files take 78 s on two cores, the 3,500 that a stage imports 22
    # s at its first start.
    install = [
        uv,
        "pip",
        "sync",
        "--python",
        python,
        "--require-hashes",
        *backend,
    ]
    sources = ["--only-binary", ":all:"]
    sources += [word for name in _SOURCE_ONLY for word in ("--no-binary", name)]
    sources += ["--build-constraints", str(CHECKOUT / "images" / "build.lock")]
    if installing.install([*install, *sources, str(lock)], env, held):
        raise MachineError(
            "the environment could not be made",
            todo="uv's reason is printed above; then run the same command again",
        )
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True
    )
    facts = {"lock_hash": lock_hash, "python": version.stdout.strip()}
    marker = {"stack": stack, **facts, "environment_hash": hash_json(facts)}
    write_json(tmp / _MARKER, {**marker, "contents": packages.contents(tmp)})
    _replace(folder, tmp)
    console.success(f"the {stack} environment is made: {folder}")
    made = _read(stack, folder)
    assert made is not None
    return made


def _replace(folder: Path, made: Path) -> None:
    """Put a new environment in the place of a damaged one. What uses it finds the same packages
    under the same names.
    """
    old = folder.with_name(f"{TMP_PREFIX}old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    made.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


_NO_PYTHON = "the stacks run on Python 3.11: sudo apt install python3.11 python3.11-venv, or let uv fetch it (it needs the network)"


def _base_python() -> str:
    """This very Python where it is 3.11, else `3.11`: uv looks for one, and fetches one where it
    may. Its file, not a link such as python3: that may lead to another version one day.
    """
    if sys.version_info[:2] == PYTHON:
        return os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    return f"{PYTHON[0]}.{PYTHON[1]}"


def _run(argv: list[str], env: Mapping[str, str], todo: str, held: IO[str]) -> None:
    if run_step(argv, env, held):
        raise MachineError("the environment could not be made", todo=todo)


__all__ = ["STACKS", "Environment", "ensure", "envs_folder", "install", "listing", "present"]
