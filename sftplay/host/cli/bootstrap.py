"""From Python alone to .venv with Invoke in it. Standard library only (so are the three kernel
modules it imports).

pip installs a hash-pinned uv, uv installs the rest from images/host.lock. A marker, written last,
says that a set-up is done and from which lock; without it the set-up is made again, so an
interrupted one is never used. What only the set-up needs is imported
there: a start that finds it done is to take no time.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - this file is what an older Python reads first
    sys.stderr.write("sftplay needs Python 3.10 or newer; this is %d.%d\n" % sys.version_info[:2])  # noqa: UP031 - and can read
    sys.exit(69)

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from sftplay import console
from sftplay.errors import MachineError, SftplayError
from sftplay.files import write_text
from sftplay.host.system.checkout import CHECKOUT, HIDDEN_PATH, VENV
from sftplay.host.system.uv import uv_environ

MARKER = VENV / "sftplay-set-up"
HOST_LOCK = CHECKOUT / "images" / "host.lock"
UV_LOCK = CHECKOUT / "images" / "uv.lock"
_MODULES = ("invoke", "docker", "yaml", "pydantic", "rich", "psutil", "packaging")  # of host.in
DOWNLOAD = "about 40 MB from PyPI: uv, Invoke, docker, pydantic, rich"


def enter(argv: Sequence[str]) -> int | None:
    """`python3 tasks.py …`: make .venv where it is missing or old, and start tasks.py again in it.

    Returns:
        None: this is .venv already, the menu can run; else the exit code of a set-up that failed.
    """
    if Path(sys.prefix) == VENV and is_done():
        return None
    if _runs_as_it_is(argv):
        return None
    try:
        ensure()
    except SftplayError as problem:
        console.failure(problem)
        return problem.code
    except KeyboardInterrupt:
        console.error("stopped; the next start makes the set-up again")
        return 130
    return _go_on_in_venv(argv)


def _runs_as_it_is(argv: Sequence[str]) -> bool:
    """Return whether the menu can run in this very Python: stages are to use one that the person
    has, no set-up was made, and the packages of images/host.in are here. Then nothing is fetched.
    """
    import importlib.util

    asked = os.environ.get("SFTPLAY_PYTHON") or "active" in argv or "--runner=active" in argv
    if not asked or is_done() or any(importlib.util.find_spec(name) is None for name in _MODULES):
        return False
    console.info(f"no set-up is made: this Python has its packages ({sys.executable})")
    return True


def ensure() -> None:
    """.venv as images/host.lock requires it; a fraction of a second where it is.

    Raises:
        MachineError: this machine can't have it; says what to install (69).
    """
    if is_done():
        return
    _check_machine()
    with _one_at_a_time():
        if not is_done():  # another process may have made it while this one waited
            _make()


def is_done() -> bool:
    """Return whether .venv was finished from the current lock, and its Python still exists."""
    try:
        return (
            MARKER.read_text(encoding="utf-8") == _fingerprint()
            and (VENV / "bin" / "python").exists()
        )
    except OSError:
        return False


def _check_machine() -> None:
    import importlib.util
    import platform

    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise MachineError(
            f"sftplay runs on Linux x86-64 (Windows: WSL 2); this is {platform.system()} {platform.machine()}"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        major, minor = sys.version_info[:2]
        raise MachineError(
            "this Python has no venv module", todo=f"sudo apt install python{major}.{minor}-venv"
        )
    config = VENV / "pyvenv.cfg"
    if config.is_file() and "sftplay" not in config.read_text(encoding="utf-8"):
        raise MachineError(
            "sftplay did not make this environment",
            where=str(VENV),
            todo="move it away or delete it",
        )


def _make() -> None:
    import venv

    whole = (
        MARKER.is_file()
    )  # made to its end from an older lock: brought up to date in place, others may be using it
    MARKER.unlink(missing_ok=True)
    console.info(f"setting up .venv ({DOWNLOAD}; less if the caches have it)")
    env, _ = uv_environ(os.environ)
    env.pop("PYTHONHOME", None)
    python = str(VENV / "bin" / "python")
    if not whole:
        venv.EnvBuilder(clear=True, with_pip=True, symlinks=True, prompt="sftplay").create(VENV)
        _run(
            [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "--only-binary",
                ":all:",
                "-r",
                str(UV_LOCK),
            ],
            env,
        )
    uv = [str(VENV / "bin" / "uv"), "pip", "sync", "--quiet", "--require-hashes", "--no-build"]
    # Compiled now: Invoke and pydantic start in a third of the time, also where Python may not
    # write bytecode later.
    _run([*uv, "--compile-bytecode", "--python", python, str(HOST_LOCK)], env)
    write_text(MARKER, _fingerprint())
    console.info("set up; from now on `.venv/bin/inv NAME` or `python3 tasks.py NAME`")


def _run(argv: list[str], env: Mapping[str, str]) -> None:
    import subprocess

    if subprocess.run(argv, env=env, check=False).returncode:
        raise MachineError(
            "the packages could not be installed",
            todo="the reason is printed above; then run the same command again",
        )


def _fingerprint() -> str:
    return hashlib.sha256(HOST_LOCK.read_bytes() + UV_LOCK.read_bytes()).hexdigest()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two first starts at once: the second waits for the first."""
    with open(CHECKOUT / ".venv.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.info("another process is setting up .venv: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _go_on_in_venv(argv: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    python = str(VENV / "bin" / "python")
    env = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")
    }
    if os.environ.get("PYTHONPATH"):
        env[HIDDEN_PATH] = os.environ["PYTHONPATH"]  # the runner `active` hands it to its stages
    os.execve(python, [python, str(CHECKOUT / "tasks.py"), *argv], env)  # noqa: S606 - no shell is wanted
