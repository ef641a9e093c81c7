"""A progress bar with ETA for anything that takes over two seconds: drawn on a terminal, plain
lines elsewhere.

A stage's stderr is often a pipe that a launcher copies to a terminal; the launcher says so with
SFTPLAY_TERMINAL=<columns>.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sftplay import console
from sftplay.files import human_size

TERMINAL_VARIABLE = "SFTPLAY_TERMINAL"
SHOW_AFTER = 2.0  # seconds: shorter work needs no progress
_SHORTEST_BAR = 4  # characters
PLAIN_EVERY = 30.0  # seconds between two plain lines


class ProgressBar:
    """Counts work and shows it. Costs next to nothing until two seconds have passed.

    Args:
        total: how much there is to do, None where nobody knows.
        unit: what is counted, one of it; `B` (bytes) is shown as kB, MB, GB.
        title: what is continuing, one or two words.
        done: how much was done before (a resumed run); the rate counts only what is done now.
    """

    def __init__(self, total: int | None, unit: str, title: str, done: int = 0) -> None:
        self.total, self.unit, self.title = total, unit, title
        self.done: float = done
        self._first = done
        self._start = time.monotonic()
        self._next_look = self._start + SHOW_AFTER
        self._bar: Any = None

    def advance(self, amount: float = 1, **shown: Any) -> None:
        """Count `amount` more, or a part of one; `shown` are values to show next to the bar
        (loss="1.93").
        """
        self.done += amount
        if self._bar is not None:
            self._draw(shown)
            return
        now = time.monotonic()
        if now < self._next_look:
            return
        columns = terminal_columns()
        if columns is None and self._whole() == self._first:
            return  # no line yet: the time left would be a guess
        if columns is None:
            console.info(self.line(now, shown))
            self._next_look = now + PLAIN_EVERY
        else:
            self._next_look = math.inf
            self._open_bar(columns, now)
            self._draw(shown)

    def expect(self, total: int) -> None:
        """Take over a total that is known now, or grew."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total

    def line(self, now: float, shown: dict[str, Any]) -> str:
        """Return what a plain line says: share, rate, time left."""
        rate = (self.done - self._first) / max(now - self._start, 1e-9)
        per_second = (
            f"{self._amount(rate)}/s"
            if rate >= 1
            else f"{1 / max(rate, 1e-9):.1f} s per {self.unit}"
        )
        parts = [self._amount(self.done), per_second]
        if self.total:
            share = f"{min(self.done / self.total, 1):.0%} of {self._amount(self.total)}"
            left = max(self.total - self.done, 0) / max(rate, 1e-9)
            parts = [share, per_second, f"{clock(left)} left"]
        parts += [f"{name} {value}" for name, value in shown.items()]
        return f"{self.title}: {', '.join(parts)}"

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the bar away while other lines are written."""
        with self._survive_closed_terminal():
            if self._bar is not None:
                self._bar.clear()
        yield
        with self._survive_closed_terminal():
            if self._bar is not None:
                self._bar.refresh()

    def close(self) -> None:
        """Take the bar away for good; what came of the work is said by whoever did it."""
        with self._survive_closed_terminal():
            if self._bar is not None:
                self._bar.close()
        self._bar = None

    def _amount(self, amount: float) -> str:
        return (
            human_size(amount) if self.unit == "B" else console.count_of(round(amount), self.unit)
        )

    def _open_bar(self, columns: int, now: float) -> None:
        from tqdm import tqdm  # 0.1 s, and most work is over sooner

        tqdm.monitor_interval = 0  # no thread: workers are forked from this process
        with self._survive_closed_terminal():
            self._bar = tqdm(
                total=self.total,
                initial=self._first,
                unit=self.unit,
                unit_scale=self.unit == "B",
                desc=self.title,
                ncols=columns or None,
                dynamic_ncols=not columns,
                miniters=0,  # the clock continues while a slow one is not whole yet,
                smoothing=0,  # and the rate is that of all the time
                leave=False,
                disable=False,  # also where a library's own bars are switched off
                file=sys.stderr,
            )
            self._bar.start_t -= now - self._start
            self._bar.update(self._whole() - self._first)
            self._bar.refresh()

    def _whole(self) -> int:
        """Return what is done, in whole ones; parts that add up to one are one."""
        return int(self.done + 1e-6)

    def _draw(self, shown: dict[str, Any]) -> None:
        with self._survive_closed_terminal():
            if self._bar is not None:
                if shown:
                    self._bar.set_postfix(self._fitting(shown), refresh=False)
                self._bar.update(self._whole() - self._bar.n)

    def _fitting(self, shown: dict[str, Any]) -> dict[str, Any]:
        """The first values, as many as leave room for a short bar."""
        facts = {**self._bar.format_dict, "postfix": None, "bar_format": "{l_bar}{r_bar}"}
        if not facts["ncols"]:
            return shown
        room = facts["ncols"] - len(self._bar.format_meter(**facts)) - _SHORTEST_BAR
        kept = {}
        for name, value in shown.items():
            room -= len(f", {name}={value}")
            if room < 0:
                break
            kept[name] = value
        return kept

    @contextmanager
    def _survive_closed_terminal(self) -> Iterator[None]:
        """Give up a bar that can't be drawn any more; the work continues."""
        try:
            yield
        except (OSError, ValueError, AttributeError):  # AttributeError: there is no stderr at all
            self._bar = None


@contextmanager
def progress(total: int | None, unit: str, title: str, done: int = 0) -> Iterator[ProgressBar]:
    """Show progress while the block runs. In it: `bar.advance(1, loss="1.93")`."""
    shown = ProgressBar(total, unit, title, done)
    try:
        yield shown
    finally:
        shown.close()


def terminal_columns() -> int | None:
    """Width to draw in, 0 for "ask the terminal", None where nothing can be drawn."""
    given = os.environ.get(TERMINAL_VARIABLE, "")
    if given:
        return int(given) if given.isdigit() and int(given) >= 20 else 80
    return 0 if sys.stderr.isatty() else None


def clock(seconds: float) -> str:
    """Format seconds: 3725 → '1:02:05', 65 → '1:05'."""
    minutes, rest = divmod(int(min(seconds, 359_999)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
