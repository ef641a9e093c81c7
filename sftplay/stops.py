"""Stops that arrive at a bad moment, and are raised again.

What a signal's handler raises is lost where it happens to come inside a callback of native code (a
validator, a destructor: Python prints "Exception ignored in") or inside a bare `except:` of a
library. In the seconds of imports that is one stop in a hundred.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

from sftplay.errors import StoppedError

_SOON = 0.02  # seconds: after the callback, whose own code is not interrupted


class _Request:
    """The stop that this process was asked for and has not obeyed yet."""

    stopped: StoppedError | None = None
    swallowed: BaseException | None = None


def raise_swallowed_again() -> None:
    """Raise a stop again soon where native code swallowed it, instead of printing it as ignored."""
    sys.unraisablehook = _on_unraisable


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Handle a stop in every stage; training replaces this by what saves first."""
    signal.signal(signum, signal.SIG_IGN)
    _Request.stopped = StoppedError(
        f"stopped by {signal.Signals(signum).name}",
        signum=signum,
        todo="run the same command again; nothing half-written was left",
    )
    raise _Request.stopped


def raise_if_stopped() -> None:
    """Raise a stop that a library has swallowed: called before work that would take long."""
    if _Request.stopped is not None:
        raise _Request.stopped


def _on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # Only the main thread receives signals, so this is the main thread.
    _Request.swallowed = unraisable.exc_value
    signal.signal(signal.SIGALRM, _raise_again)
    signal.setitimer(signal.ITIMER_REAL, _SOON)


def _raise_again(signum: int, frame: FrameType | None) -> None:
    swallowed, _Request.swallowed = _Request.swallowed, None
    if swallowed is not None:
        raise swallowed
