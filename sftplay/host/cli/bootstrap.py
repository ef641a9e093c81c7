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

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from sftplay import console
from sftplay.errors import MachineError, SftplayError
from sftplay.files import explain_os_error, write_json
from sftplay.host.system import interpreter, packages
from sftplay.host.system.checkout import CHECKOUT, VENV
from sftplay.host.system.setup_lock import one_at_a_time, run_step
from sftplay.host.system.uv import uv_environ
from sftplay.stops import raise_swallowed_again
from sftplay.untrusted import read_json

MARKER = VENV / "sftplay-set-up"
HOST_LOCK = CHECKOUT / "images" / "host.lock"
UV_LOCK = CHECKOUT / "images" / "uv.lock"
_HEALED = "SFTPLAY_SET_UP_AGAIN"  # .venv was made again for this very start
_MODULES = ("invoke", "docker", "yaml", "pydantic", "rich", "psutil", "packaging")  # of host.in
DOWNLOAD = "about 40 MB from PyPI: uv, Invoke, docker, pydantic, rich"


def enter(argv: Sequence[str]) -> int | None:
    """`python3 tasks.py …`: make .venv where it is missing or old, and start tasks.py again in it.

    Returns:
        None: this is .venv already, the menu can run; else the exit code of a set-up that failed.
    """
    raise_swallowed_again()
    console.open_streams()
    if _runs_as_it_is(argv):
        return None
    try:
        if argv[:1] == ["install"] and is_done() and packages.damaged_files(VENV):
            _make_again()
        if Path(sys.prefix) == VENV and is_done():
            if not interpreter.is_changed():
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
    except KeyboardInterrupt:
        console.error("stopped")
        return 130
    except ImportError as error:
        ours = (error.name or "").startswith("sftplay") or Path(sys.prefix) != VENV
        if ours or os.environ.pop(_HEALED, ""):
            raise
        console.warning(f".venv is damaged ({error}): making it again")
        os.environ[_HEALED] = "1"
        MARKER.unlink(missing_ok=True)
        code = enter(argv[1:])
        assert code is not None
        return code
    os.environ.pop(_HEALED, None)
    return main(argv, namespace)


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
    with one_at_a_time(CHECKOUT / ".venv.lock", "setting up .venv") as lock:
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
        return read_json(MARKER)
    except (SftplayError, OSError):
        return {}


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
    env, _ = uv_environ(interpreter.plain_environ())
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
    if run_step(argv, env, lock):
        raise MachineError(
            "the packages could not be installed",
            todo="the reason is printed above; then run the same command again",
        )


def _fingerprint() -> str:
    return hashlib.sha256(HOST_LOCK.read_bytes() + UV_LOCK.read_bytes()).hexdigest()


def _go_on_in_venv(argv: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    python = str(VENV / "bin" / "python")
    os.execve(python, [python, str(CHECKOUT / "tasks.py"), *argv], interpreter.plain_environ())  # noqa: S606 - no shell is wanted
