"""Children that do not outlive their parent, however it ends."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from signal import Signals

_PR_SET_PDEATHSIG = 1


def follow_parent(signum: Signals, also: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """Return what a child calls before its program begins: it gets `signum` when this process dies.

    Call it in the thread that starts the child and lives as long as it should: the kernel watches
    that thread.

    Args:
        also: what else the child does then.
    """
    libc, parent = ctypes.CDLL(None), os.getpid()

    def in_child() -> None:
        also()
        libc.prctl(_PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it died before the kernel was told
            os.kill(os.getpid(), signum)

    return in_child
