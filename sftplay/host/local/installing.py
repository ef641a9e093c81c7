"""uv's output while it installs, for people: one line that says what is downloaded, in place of a
bar for each package and the list of all of them.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from sftplay import console
from sftplay.files import human_size
from sftplay.host.ui.status import status_line

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BEGUN = re.compile(r"^Downloading (\S+) \(([\d.]+)(B|KiB|MiB|GiB)\)")
_BUILDS = re.compile(r"^ *Building (\S+)")
_ENDED = re.compile(r"^ *(?:Downloaded|Built) (\S+)")
_STEP = re.compile(r"^(?:Resolved|Prepared|Installed) .*")
_EVERY = 30.0  # seconds between two lines where nothing can be overwritten


class Installing:
    """Fed with uv's lines, tells a person. uv names the large packages only.

    Attributes:
        last: the last lines, for when it fails.
    """

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self.last: deque[str] = deque(maxlen=15)
        self._show = show
        self._sizes: dict[str, float] = {}
        self._loaded = 0.0
        self._running: dict[str, None] = {}
        self._began = self._said = time.monotonic()

    def feed(self, line: str) -> None:
        """One line of uv's output."""
        self.last.append(line)
        if begun := _BEGUN.match(line):
            self._sizes[begun[1]] = float(begun[2]) * _UNITS[begun[3]]
            self._running[begun[1]] = None
        elif building := _BUILDS.match(line):
            self._running[building[1].partition("==")[0]] = None
        elif ended := _ENDED.match(line):
            name = ended[1].partition("==")[0]
            self._loaded += self._sizes.get(name, 0)
            self._running.pop(name, None)
        elif not _STEP.match(line):
            return
        self.tell()

    def tell(self) -> None:
        """Show what runs, and for how long."""
        if self._show:
            self._show(self.line())
        elif time.monotonic() - self._said > _EVERY:
            self._said = time.monotonic()
            console.info(self.line())

    def line(self) -> str:
        """`installing: 120 MB of 640 MB, torch, triton (12 s)`."""
        total = sum(self._sizes.values())
        parts = (
            [f"{human_size(round(self._loaded))} of {human_size(round(total))}"] if total else []
        )
        parts += list(self._running)[:3]
        if len(self._running) > 3:
            parts.append(f"{len(self._running) - 3} more")
        doing = ", ".join(parts) or "packages"
        return f"installing: {doing} ({time.monotonic() - self._began:.0f} s)"


def install(argv: Sequence[str], env: Mapping[str, str], held: IO[str] | None = None) -> int:
    """Run uv and return its exit code; where it fails, the end of its output is printed.

    Args:
        held: the lock, as its stdin: others wait for it even if this process is killed.
    """
    with status_line() as show:
        told = Installing(show)
        with subprocess.Popen(
            list(argv),
            env=dict(env),
            stdin=held,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as child:
            assert child.stderr is not None
            for line in child.stderr:
                told.feed(line.rstrip())
    if child.returncode:
        for line in told.last:
            console.info(f"  {line[:300]}")
    return child.returncode
