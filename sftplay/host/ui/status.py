"""A line at the bottom of a terminal that is written over."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from sftplay import console


def on_a_terminal() -> bool:
    """Return whether a line on stderr can be overwritten."""
    return sys.stderr.isatty() and console.use_colour()


@contextlib.contextmanager
def status_line() -> Iterator[Callable[[str], None] | None]:
    """Yield what sets the line's text; None where it can't be overwritten."""
    if not on_a_terminal():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update
