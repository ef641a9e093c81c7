"""`inv status`: what runs now, from any terminal. Read from the run folders alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rich.text import Text

from sftplay import console
from sftplay.host.protocol.records import newest_place
from sftplay.host.runs.logs import last_line, source_of
from sftplay.host.runs.measured import number_in
from sftplay.host.runs.table import decimals
from sftplay.host.runs.view import RunView, read_running
from sftplay.host.ui.format import show_duration
from sftplay.host.ui.tables import print_table
from sftplay.locks import is_held, read_note
from sftplay.places import OUTPUTS

COLUMNS = ("what", "stage", "step", "loss", "val loss", "tokens/s", "left", "now")


def status() -> None:
    """Print the running stages on stdout."""
    rows = [*_other_stages(), *(_training(view) for view in read_running())]
    if not rows:
        console.info("nothing runs; inv runs lists what has run")
        return
    print_table(COLUMNS, rows, COLUMNS[2:7], short=("now",), least=("val loss", "tokens/s"))
    console.info("inv logs RUN -f follows one")


def _training(view: RunView) -> list[str | Text]:
    progress = dict(view.progress)
    step, steps = number_in(progress, "step"), number_in(progress, "steps")
    attempts = view.run.attempts()
    backend = attempts[-1].backend if attempts else ""
    return [
        view.name,
        f"train {backend}".strip(),
        "" if step is None or steps is None else f"{step:.0f}/{steps:.0f}",
        decimals(number_in(progress, "loss")),
        decimals(number_in(progress, "val")),
        decimals(number_in(progress, "tok/s"), ",.0f"),
        time_left(progress, time.time()),
        _now(view, progress),
    ]


def time_left(progress: dict[str, Any], now: float) -> str:
    """Remaining steps at the speed of the last ones, less the time since the last look, which is 0
    where the clock was set back. Pure.
    """
    step, steps, pace, at = (
        number_in(progress, key) for key in ("step", "steps", "seconds_per_step", "time")
    )
    if step is None or steps is None or pace is None or at is None:
        return ""
    return show_duration(max(0.0, (steps - step) * pace - max(0.0, now - at)))


def _now(view: RunView, progress: dict[str, Any]) -> str:
    """Return the last thing it printed if nothing is counted yet, and since when it is silent; job
    and node of a cluster.
    """
    place = newest_place(view.run.launch)
    at, pace = number_in(progress, "time"), number_in(progress, "seconds_per_step")
    if at is None:
        source = source_of(view.run)
        said = last_line(source)[:100] if source else "starting"
        return _joined(said, place)
    silent = time.time() - at
    if number_in(progress, "step") == number_in(progress, "steps"):
        return _joined("saving the result", place)
    if silent > 60 + 10 * (pace or 0):
        return _joined(f"no step for {show_duration(silent)}", place)
    return _joined(ranks_of(progress), place)


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)


def ranks_of(progress: dict[str, Any]) -> str:
    """Return how many ranks train, and which is the slowest; empty for a single process. Pure."""
    times = seconds_of_ranks(progress)
    if len(times) < 2:
        return ""
    usual, slowest = median(times), max(range(len(times)), key=times.__getitem__)
    more = times[slowest] / usual - 1 if usual > 0 else 0.0
    return f"{len(times)} ranks" + (f", rank {slowest} {more:.0%} slower" if more > 0.1 else "")


def seconds_of_ranks(progress: Mapping[str, Any]) -> list[float]:
    """Return the seconds that each rank computed in the last step, by rank; 0 for what is no number."""
    seconds = progress.get("rank_seconds")
    if not isinstance(seconds, list):
        return []
    return [float(one) if isinstance(one, (int, float)) else 0.0 for one in seconds]


def _other_stages() -> Iterator[list[str | Text]]:
    for lock in [*sorted(Path("data").glob("*/.lock")), *sorted(OUTPUTS.glob("*/*/.lock"))]:
        if is_held(lock):
            who = str(read_note(lock).get("who", "a stage"))
            yield [str(lock.parent), who, "", "", "", "", "", ""]
