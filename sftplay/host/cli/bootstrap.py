"""From Python alone to .venv with Invoke in it. Standard library only (so are the three kernel
modules it imports).

pip installs a hash-pinned uv, uv installs the rest from images/host.lock. A record, written last,
says from which lock and with what in it; where it does not say so, or something of it is missing
now, .venv is made again, so an interrupted or damaged one is never used. What only the set-up needs
is imported there: a start that finds it done is to take no time.
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
from typing import IO, Any, NoReturn

from sftplay import console
from sftplay.errors import MachineError, SftplayError
from sftplay.files import explain_os_error, read_json, write_json
from sftplay.host.system import packages
from sftplay.host.system.checkout import CHECKOUT, VENV
from sftplay.host.system.uv import uv_environ

MARKER = VENV / "sftplay-set-up"
HOST_LOCK = CHECKOUT / "images" / "host.lock"
UV_LOCK = CHECKOUT / "images" / "uv.lock"
# They change what this Python does, or how it ends; .venv's own needs none of them.
_OF_PYTHON = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONSTARTUP"),
    *("PYTHONSAFEPATH", "PYTHONDEBUG", "PYTHONVERBOSE"),
)
_HEALED = "SFTPLAY_SET_UP_AGAIN"  # .venv was made again for this very start
DOWNLOAD = "about 40 MB from PyPI: uv, Invoke, docker, pydantic, rich"


def enter(argv: Sequence[str]) -> int | None:
    """`python3 tasks.py …`: make .venv where it is missing or old, and start tasks.py again in it.

    Returns:
        None: this is .venv already, the menu can run; else the exit code of a set-up that failed.
    """
    console.open_streams()
    try:
        if argv[:1] == ["install"] and is_done() and packages.damaged_files(VENV):
            _make_again()
        if Path(sys.prefix) == VENV and is_done():
            if not is_changed():
                return None
        else:
            ensure()
    except OSError as error:
        problem = explain_os_error(error, VENV)
        console.failure(problem)
        return problem.code
    except SftplayError as problem:
        console.failure(problem)
        return problem.code
    except KeyboardInterrupt:
        console.error("stopped; the next start makes the set-up again")
        return 130
    return _go_on_in_venv(argv)


def run_menu(argv: Sequence[str]) -> int:
    """Run the task that the command line names; .venv is made again where its packages can't be
    imported. Returns the exit code.
    """
    try:
        from sftplay.host.cli.menu import namespace
        from sftplay.host.cli.program import main
    except ImportError as error:
        if (error.name or "").startswith("sftplay") or os.environ.pop(_HEALED, ""):
            raise
        console.warning(f".venv is damaged ({error}): making it again")
        os.environ[_HEALED] = "1"
        MARKER.unlink(missing_ok=True)
        code = enter(argv[1:])
        assert code is not None
        return code
    os.environ.pop(_HEALED, None)
    return main(argv, namespace)


def is_changed() -> bool:
    """Return whether variables changed this Python: no asserts and docstrings, or a prompt instead
    of an exit code.
    """
    return any(os.environ.get(name) for name in ("PYTHONOPTIMIZE", "PYTHONINSPECT"))


def start_unchanged() -> None:
    """Start this program again without the variables that changed its Python; return where there
    are none.
    """
    if is_changed():
        os.execve(sys.executable, [sys.executable, *sys.argv], _unchanged())  # noqa: S606 - as above


def ensure() -> None:
    """.venv as images/host.lock requires it; a fraction of a second where it is.

    Raises:
        MachineError: this machine can't have it; says what to install (69).
    """
    if is_done():
        return
    _check_machine()
    with _one_at_a_time() as lock:
        if not is_done():  # another process may have made it while this one waited
            _make(lock)


def _make_again() -> None:
    console.warning(".venv is damaged: making it again")
    MARKER.unlink(missing_ok=True)
    ensure()


def is_done() -> bool:
    """Return whether .venv was finished from the current lock, is for this Python where it is this
    one's, and all of it is there.
    """
    made = _record()
    if made.get("locks") != _fingerprint() or not (VENV / "bin" / "python").exists():
        return False
    mine = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    if Path(sys.prefix) == VENV and not (VENV / mine).is_dir():
        return False
    return not packages.missing(VENV, made.get("contents", ()))


def _record() -> dict[str, Any]:
    try:
        made = read_json(MARKER)
    except (SftplayError, OSError):
        return {}
    return made if isinstance(made, dict) else {}


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
    foreign = config.is_file() and "sftplay" not in config.read_text(encoding="utf-8")
    if foreign or (VENV.exists() and not VENV.is_dir()):
        raise MachineError(
            "sftplay did not make this environment",
            where=str(VENV),
            todo="move it away or delete it",
        )


def _make(lock: IO[str]) -> None:
    # Made to its end from an older lock: brought up to date in place, others may be using it.
    made = _record()
    whole = bool(made) and not packages.missing(VENV, made.get("contents", ["bin/uv"]))
    MARKER.unlink(missing_ok=True)
    console.info(f"setting up .venv ({DOWNLOAD}; less if the caches have it)")
    env, _ = uv_environ(_unchanged())
    python = str(VENV / "bin" / "python")
    if not whole:
        base = str(getattr(sys, "_base_executable", sys.executable))
        words = ["-I", "-m", "venv", "--clear", "--symlinks", "--prompt", "sftplay", str(VENV)]
        _run([base, *words], env, lock)
        _run(
            [
                python,
                "-I",
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
            lock,
        )
    uv = [str(VENV / "bin" / "uv"), "pip", "sync", "--quiet", "--require-hashes", "--no-build"]
    # Compiled now: Invoke and pydantic start in a third of the time, also where Python may not
    # write bytecode later.
    _run([*uv, "--compile-bytecode", "--python", python, str(HOST_LOCK)], env, lock)
    write_json(MARKER, {"locks": _fingerprint(), "contents": packages.contents(VENV)})
    console.info("set up; from now on `.venv/bin/inv NAME` or `python3 tasks.py NAME`")


def _run(argv: list[str], env: Mapping[str, str], lock: IO[str]) -> None:
    """Run a step of the set-up. Its stdin is the lock: it and all that it starts keep others out,
    also when this process is killed.
    """
    import subprocess

    if subprocess.run(argv, env=env, stdin=lock, check=False).returncode:
        raise MachineError(
            "the packages could not be installed",
            todo="the reason is printed above; then run the same command again",
        )


def _fingerprint() -> str:
    return hashlib.sha256(HOST_LOCK.read_bytes() + UV_LOCK.read_bytes()).hexdigest()


@contextmanager
def _one_at_a_time() -> Iterator[IO[str]]:
    """Two first starts at once: the second waits for the first."""
    with open(CHECKOUT / ".venv.lock", "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.info("another process is setting up .venv: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _unchanged() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in _OF_PYTHON}


def _go_on_in_venv(argv: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    python = str(VENV / "bin" / "python")
    os.execve(python, [python, str(CHECKOUT / "tasks.py"), *argv], _unchanged())  # noqa: S606 - no shell is wanted
