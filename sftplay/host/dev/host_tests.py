"""The host part's tests on another Python: `inv test --python 3.13`.

The training stacks run on exactly one Python; the host part runs on every Python from 3.10 on. Its
tests get an environment of their own, without a stack. Tests that run stages use the cpu stack if
it is installed, and are skipped with that reason if not.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from sftplay import console
from sftplay.errors import MachineError
from sftplay.files import hash_file, write_json
from sftplay.host.local.environments import HOST_TESTS, envs_folder
from sftplay.host.local.runner import run_foreground
from sftplay.host.protocol.ends import explain_end
from sftplay.host.system.checkout import CHECKOUT
from sftplay.host.system.uv import find_uv, uv_environ

LOCK = CHECKOUT / HOST_TESTS
TESTS = ("tests/host", "tests/page", "tests")  # of the last one only its own files, not its folders


def run(python: str, *, args: str = "") -> int:
    """Run the tests of host and kernel; return pytest's exit code.

    Args:
        python: a version (`3.13`) or a path; uv looks for it, and downloads it if there is none.
        args: more for pytest, as one word.

    Raises:
        MachineError: there is no such Python, or the packages could not be installed (69).
    """
    chosen = _ensure(python)
    words = ["-m", "pytest", "-m", "not long and not acceptance", *shlex.split(args), *_tests()]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env |= {"PYTHONPATH": str(CHECKOUT), "PYTHONNOUSERSITE": "1"}
    env["PATH"] = f"{chosen.parent}{os.pathsep}{env.get('PATH', '')}"
    code = run_foreground([str(chosen), *words], env, CHECKOUT)
    explain_end("pytest", code)
    return code


def _tests() -> list[str]:
    *folders, root = TESTS
    files = sorted(path.relative_to(CHECKOUT) for path in (CHECKOUT / root).glob("test_*.py"))
    return [*folders, *map(str, files)]


def _ensure(python: str) -> Path:
    """Return the Python of an environment from images/host-test.lock, made if it is missing."""
    env, _ = uv_environ(os.environ)
    uv = str(find_uv())
    found = _ask([uv, "python", "find", "--no-project", "--system", python], env) or python
    version = (
        _ask([found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], env) or python
    )
    name = f"host{version}-{hash_file(LOCK).removeprefix('sha256:')[:12]}".replace("/", "-")
    folder = envs_folder() / name
    if not (folder / "sftplay.json").is_file():
        console.info(f"making {name} once: pytest and the host's packages (about 80 MB)")
        _install([uv, "venv", "--quiet", "--clear", "--python", found, str(folder)], env)
        sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--no-build", "--python"]
        _install([*sync, str(folder / "bin" / "python"), str(LOCK)], env)
        write_json(folder / "sftplay.json", {"stack": "host-test", "lock_hash": hash_file(LOCK)})
    return folder / "bin" / "python"


def _ask(argv: list[str], env: dict[str, str]) -> str:
    """Return what a program prints; empty if it fails or is missing."""
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _install(argv: list[str], env: dict[str, str]) -> None:
    if subprocess.run(argv, env=env, check=False).returncode:
        raise MachineError(
            "the environment for the host part's tests could not be made",
            todo="uv's reason is above; `uv python list` shows the Pythons that it finds",
        )
