"""Developer tasks: tests and benchmarks in the dev environment, which holds the cpu stack and the
tools.
"""

from __future__ import annotations

import os
import re
import shlex

from sftplay.errors import NotFoundError
from sftplay.host.local import environments
from sftplay.host.local.runner import run_foreground
from sftplay.host.protocol.ends import explain_end
from sftplay.host.system.checkout import CHECKOUT

RELIABILITY = CHECKOUT / "docs" / "reliability.md"
_NAMED = re.compile(r"`(tests/[\w/]+\.py::test_\w+)` \|$", re.MULTILINE)


def tests_of_faults() -> list[str]:
    """Return the tests that the page about reliability names, each once."""
    return list(dict.fromkeys(_NAMED.findall(RELIABILITY.read_text(encoding="utf-8"))))


def test(
    *,
    long: bool = False,
    docker: bool = False,
    acceptance: bool = False,
    faults: bool = False,
    args: str = "",
) -> int:
    """pytest: the everyday selection, with `long` the tests that take minutes, with `docker` those
    that start containers, with `acceptance` the first run with the real model.

    The whole suite runs in two processes of half the cores each, file by file: most tests keep one
    core busy. With `args` it runs as pytest alone would run it. Returns its code.
    """
    left_out = [
        name for name, asked in (("long", long), ("acceptance", acceptance or long)) if not asked
    ]
    selection = ["-m", " and ".join(f"not {name}" for name in left_out)] if left_out else []
    selection += ["--docker"] if docker else []
    cores = len(os.sched_getaffinity(0))
    side_by_side = ["-n", "2", "--dist", "loadfile"] if cores > 1 and not args else []
    threads = {"OMP_NUM_THREADS": str(cores // 2)} if side_by_side else {}
    named = tests_of_faults() if faults else []
    return run_tool("pytest", *side_by_side, *selection, *named, *shlex.split(args), **threads)


def bench(what: str, *, args: str = "") -> int:
    """Run bench/<what>.py (a dash in its name for an underscore), or `all` of them.

    Raises:
        NotFoundError: there is no such benchmark (66).
    """
    there = sorted(
        path.stem.replace("_", "-")
        for path in (CHECKOUT / "bench").glob("*.py")
        if not path.stem.startswith("_")
    )
    if what not in (*there, "all"):
        names = ", ".join(there) or "none yet"
        raise NotFoundError(
            f"there is no benchmark {what}", where="bench/", todo=f"one of: {names}, or all"
        )
    codes = [
        run_tool("python", "-m", f"bench.{name.replace('-', '_')}", *shlex.split(args))
        for name in (there if what == "all" else [what])
    ]
    return next((code for code in codes if code), 0)


def run_tool(name: str, *words: str, **variables: str) -> int:
    """Run a program of the dev environment in the checkout, with `variables` added to the
    environment.
    """
    folder = environments.ensure("dev").folder / "bin"
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    }
    env |= {
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONNOUSERSITE": "1",
        "PATH": f"{folder}{os.pathsep}{env.get('PATH', '')}",
    }
    code = run_foreground([str(folder / name), *words], {**env, **variables}, CHECKOUT)
    explain_end(name, code)
    return code
