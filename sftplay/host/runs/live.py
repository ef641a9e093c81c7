"""`inv status` and `inv logs RUN`: what runs now, from any terminal.

Read from the run folders alone; nothing is disturbed.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.text import Text

from sftplay import console
from sftplay.errors import NotFoundError
from sftplay.host.protocol import records
from sftplay.host.runs.table import decimals
from sftplay.host.runs.view import RunView, moment_of, number_in, read_runs, require_run
from sftplay.host.ui.format import show_duration
from sftplay.host.ui.tables import print_table
from sftplay.host.ui.terminal import settled
from sftplay.locks import is_held
from sftplay.places import OUTPUTS
from sftplay.runs import Run

COLUMNS = ("what", "stage", "step", "loss", "val loss", "tokens/s", "left", "now")
_POLL = 0.2
_LATEST = 20  # lines shown before following
_STAMPED = re.compile(
    r"^\S+T\S+ (info: |success: |warning: )?|^[·✓!✗] "
)  # how a line of train.log begins, or one of the screen


def status() -> None:
    """Print the running stages on stdout."""
    rows = [*_other_stages(), *(_training(view) for view in read_runs() if view.state == "running")]
    if not rows:
        console.info("nothing runs; inv runs lists what has run")
        return
    print_table(COLUMNS, rows, COLUMNS[2:7], short=("now",), least=("val loss", "tokens/s"))
    console.info("inv logs RUN -f follows one")


def _training(view: RunView) -> list[str | Text]:
    progress = dict(view.progress) if _is_of_this_start(view) else {}
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
    """Remaining steps at the speed of the last ones, less the time since the last look. Pure."""
    step, steps, pace, at = (
        number_in(progress, key) for key in ("step", "steps", "seconds_per_step", "time")
    )
    if step is None or steps is None or pace is None or at is None:
        return ""
    return show_duration(max(0.0, (steps - step) * pace - (now - at)))


def _now(view: RunView, progress: dict[str, Any]) -> str:
    """Return the last thing it printed if nothing is counted yet, and since when it is silent."""
    at, pace = number_in(progress, "time"), number_in(progress, "seconds_per_step")
    if at is None:
        source = _source(view.run)
        return _STAMPED.sub("", last_line(source))[:100] if source else "starting"
    silent = time.time() - at
    if number_in(progress, "step") == number_in(progress, "steps"):
        return "saving the result"
    return f"no step for {show_duration(silent)}" if silent > 60 + 10 * (pace or 0) else ""


def _is_of_this_start(view: RunView) -> bool:
    """Return whether progress.json was written since the training last began: a resumed one has its
    old file first.
    """
    begins = [event for event in view.events if event.get("event") in ("started", "resumed")]
    moment = moment_of(begins[-1]) if begins else None
    return moment is not None and (number_in(view.progress, "time") or 0) >= moment.timestamp()


def _other_stages() -> Iterator[list[str | Text]]:
    for lock in [*sorted(Path("data").glob("*/.lock")), *sorted(OUTPUTS.glob("*/*/.lock"))]:
        if is_held(lock):
            try:
                who = str(json.loads(lock.read_bytes())["who"])
            except (OSError, ValueError, KeyError, TypeError):
                who = "a stage"
            yield [str(lock.parent), who, "", "", "", "", "", ""]


def _source(run: Run) -> Path | None:
    """The log of the newest attempt; before there is one, what the launcher's newest start has
    printed.
    """
    start = _newest_start(run)
    output = records.output_file(run.launch, start) if start else None
    logs = [attempt.log for attempt in run.attempts() if attempt.log.is_file()]
    if logs and (
        output is None
        or not output.is_file()
        or output.stat().st_mtime <= logs[-1].stat().st_mtime + 1
    ):
        return logs[-1]
    return output if output is not None and output.is_file() else logs[-1] if logs else None


def _newest_start(run: Run) -> int | None:
    try:
        start = records.newest(run.launch)
    except Exception:  # noqa: BLE001 - a torn record: the log is still there
        return None
    return start.number if start else None


def last_line(path: Path) -> str:
    """The last thing that a log says, without what a progress bar drew before it."""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            text = settled(log.read())
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def logs(name: str, *, follow: bool = False) -> int:
    """Print a run's log on stdout; with `follow` its end, and then what comes, until the training
    ends.

    Raises:
        NotFoundError: no such run, or nothing was logged yet (66).
    """
    view = require_run(name)
    source = _source(view.run)
    if source is None and not (follow and view.state == "running"):
        raise NotFoundError(
            "this run has no log yet", where=str(view.run.folder), todo=f"inv runs.show {name}"
        )
    if not follow:
        assert source is not None
        console.result(settled(source.read_bytes()), end="")
        return 0
    try:
        _follow(view.run, source)
    except KeyboardInterrupt:
        return 130  # how a person stops looking; the training continues
    return 0


def _follow(run: Run, source: Path | None) -> None:
    place = _tail_start(source) if source else 0
    while True:
        over = not (is_held(run.launch_lock) or is_held(run.run_lock))
        if source is not None:
            with open(source, "rb") as log:
                log.seek(place)
                piece = log.read()
            whole = piece[: piece.rfind(b"\n") + 1] if not over else piece
            place += len(whole)
            console.result(settled(whole), end="")
        newer = _source(run)
        if newer != source:  # a new attempt, or the first line of it
            source, place = newer, 0
            continue
        if over:
            return
        time.sleep(_POLL)


def _tail_start(path: Path) -> int:
    """Return the position at which the last lines begin."""
    content = path.read_bytes()
    place = len(content)
    for _ in range(_LATEST + 1):
        place = content.rfind(b"\n", 0, place)
        if place < 0:
            return 0
    return place + 1
