"""Exit codes of children, and a line for those that the child itself could not explain."""

from __future__ import annotations

import signal

from sftplay import console
from sftplay.errors import EXIT_MEANINGS

NATIVE_ENDS = (134, 135, 137, 139)  # ends without a word from the stage itself


def exit_code(returncode: int) -> int:
    """A death by signal is -N for subprocess, 128 + N for shells and our table."""
    return 128 - returncode if returncode < 0 else returncode


def explain_end(name: str, code: int) -> None:
    """A line for an end that the stage itself could not explain: killed, crashed."""
    if code in NATIVE_ENDS or (code > 128 and code not in EXIT_MEANINGS):
        meaning = EXIT_MEANINGS.get(code) or f"ended by {_signal_name(code - 128)}"
        console.error(f"{name} ended with {code}: {meaning}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
