"""Variables that change what Python does, or how it ends: our own processes need none of them.

Standard library only.
"""

from __future__ import annotations

import os
import sys

from sftplay.host.system.checkout import HIDDEN_PATH

_OF_PYTHON = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONSTARTUP"),
    *("PYTHONSAFEPATH", "PYTHONDEBUG", "PYTHONVERBOSE"),
)


def plain_environ() -> dict[str, str]:
    """Return this process's variables without them."""
    env = {key: value for key, value in os.environ.items() if key not in _OF_PYTHON}
    if os.environ.get("PYTHONPATH"):
        env[HIDDEN_PATH] = os.environ["PYTHONPATH"]  # the runner `active` hands it to its stages
    return env


def is_changed() -> bool:
    """Return whether variables changed this Python: no asserts and docstrings, or a prompt in place
    of an exit code.
    """
    return any(os.environ.get(name) for name in ("PYTHONOPTIMIZE", "PYTHONINSPECT"))


def start_unchanged() -> None:
    """Start this program again without them; return where this Python is not changed."""
    if is_changed():
        os.execve(sys.executable, [sys.executable, *sys.argv], plain_environ())  # noqa: S606 - no shell is wanted
