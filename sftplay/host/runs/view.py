"""A run folder as it is found: half deleted, of an older schema, with torn files.

What can be read is read, what can't is said. One module although it is long: each value is read
next to the property that copes with its absence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from sftplay.attempts import Attempt
from sftplay.console import count_of
from sftplay.errors import NotFoundError, SftplayError, UsageError
from sftplay.host.runs.measured import MeasuredMetric, number_in
from sftplay.host.system.disk import disk_size
from sftplay.locks import is_held
from sftplay.manifest import MANIFEST
from sftplay.places import OUTPUTS
from sftplay.runs import TASK_PREFIX, Run
from sftplay.stamp import SCHEMA, read_stamp
from sftplay.untrusted import read_json

State = Literal["running", "finished", "interrupted", "failed", "cut off", "not begun", "damaged"]
_ENDS: Mapping[str, State] = {
    "failed": "failed",
    "interrupted": "interrupted",
    "finished": "finished",
}
_BEGINS = ("started", "resumed")


@dataclass(frozen=True)
class RunView:
    """The contents of a run folder.

    Attributes:
        problems: what could not be read, for people.
        stamp: backend.json; record: run.json; events: events.jsonl. Empty where there is none.
        progress: progress.json of the newest attempt.
        metrics: eval/<split>/metrics.json by split, those of lm-eval's tasks as `task-<name>`.
    """

    run: Run
    state: State
    problems: tuple[str, ...] = ()
    stamp: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def backend(self) -> str:
        """`bnb`, or `unsloth → bnb` where another one was asked for."""
        used, asked = (str(self.stamp.get(key) or "") for key in ("backend", "requested_backend"))
        return f"{asked} → {used}" if asked and used and asked != used else used

    @property
    def steps(self) -> str:
        """`10`, or `4/10` where the training is not at its end."""
        done = number_in(self.record, "steps")
        if done is not None and self.state == "finished":
            return f"{done:,.0f}"
        at, planned = number_in(self.progress, "step"), number_in(self.progress, "steps")
        return f"{at:,.0f}/{planned:,.0f}" if at is not None and planned is not None else ""

    @property
    def loss(self) -> float | None:
        """The last logged training loss."""
        last = number_in(self.record, "last_loss")
        return last if last is not None else number_in(self.progress, "loss")

    @property
    def val_loss(self) -> float | None:
        """The best loss on the val split while training."""
        best = number_in(self.record, "val_loss")
        return best if best is not None else number_in(self.progress, "val")

    @property
    def speed(self) -> tuple[str, str]:
        """Tokens per second of the training steps, and a note: older records have that of the whole
        loop. Both empty where none is recorded.
        """
        speed = number_in(self.record, "tokens_per_second")
        if speed is None:
            return "", ""
        return f"{speed:,.0f}", "" if "step_seconds" in self.record else "(with evaluations)"

    @property
    def seconds(self) -> float | None:
        """Return the training's duration, all its starts together; that of a running one so far."""
        total, began = 0.0, None
        for event in self.events:
            moment = moment_of(event)
            if moment is None:
                continue
            kind = str(event.get("event"))
            if kind in _BEGINS:
                began = moment
            elif kind in _ENDS and began is not None:
                total, began = total + _seconds_between(began, moment), None
        if began is not None and self.state == "running":
            total += _seconds_between(began, datetime.now(timezone.utc))
        return total or number_in(self.record, "seconds")

    @property
    def size(self) -> int:
        """Bytes on disk."""
        try:
            return disk_size(self.run.folder)
        except OSError:  # it goes away while we look
            return 0

    @property
    def began(self) -> datetime | None:
        """Return the time of its first start."""
        return next((moment for moment in map(moment_of, self.events) if moment is not None), None)

    def metric(self, name: str) -> MeasuredMetric | None:
        """A metric of the evaluation, val before test."""
        for split, record in sorted(self.metrics.items(), key=lambda item: item[0] != "val"):
            found = MeasuredMetric.read(name, split, record)
            if found is not None:
                return found
        return None

    def task_metrics(self) -> Iterator[MeasuredMetric]:
        """Yield the first metric of each task of lm-eval, by name of the task; not of evaluations
        with a limit.
        """
        for split, record in sorted(self.metrics.items()):
            names = record.get("metrics")
            whole = number_in(record.get("settings"), "limit") is None
            if whole and split.startswith(TASK_PREFIX) and isinstance(names, Mapping):
                found = (MeasuredMetric.read(str(name), split, record) for name in names)
                yield from islice(filter(None, found), 1)


def read_runs() -> Iterator[RunView]:
    """Every folder in outputs/, by name.

    Links to folders are looked at, files and hidden folders are not.
    """
    if OUTPUTS.is_dir():
        names = sorted(path.name for path in OUTPUTS.iterdir() if _is_run(path))
        yield from (read_run(Run(name)) for name in names)


def read_running() -> Iterator[RunView]:
    """Return the runs that are being trained now; of all others only the locks are looked at."""
    locks = sorted(OUTPUTS.glob("*/.*.lock"))
    names = sorted({lock.parent.name for lock in locks if _is_run(lock.parent) and is_held(lock)})
    yield from (view for view in map(read_run, map(Run, names)) if view.state == "running")


def _is_run(path: Path) -> bool:
    """Return whether a folder of outputs/ is a run's, and not a batch's own."""
    return path.is_dir() and not path.name.startswith(".") and not (path / "batch.json").is_file()


def require_run(name: str) -> RunView:
    """The run of that name.

    Raises:
        UsageError: not a name (2). NotFoundError: there is none (66).
    """
    if not name or "/" in name or name.startswith("."):
        raise UsageError(
            f"a run is named as in `inv runs`, not by a path: {name!r}", todo="inv runs lists them"
        )
    run = Run(name)
    if not run.folder.is_dir():
        names = ", ".join(view.name for view in read_runs()) or "none"
        raise NotFoundError(
            f"there is no run {name} (runs here: {names})", where=str(run.folder), todo="inv runs"
        )
    return read_run(run)


def read_run(run: Run) -> RunView:
    """Read everything that a list needs. Never raises for what is in the folder."""
    problems: list[str] = []
    try:
        attempts = run.attempts()
        stamp = _stamp(run.stamp, problems)
        record = _mapping(run.record, problems)
        events = tuple(run.history())
        unreadable = sum(event.get("event") == "unreadable" for event in events)
        problems += (
            [f"events.jsonl: {count_of(unreadable, 'line')} not readable"] if unreadable else []
        )
        progress = _mapping(attempts[-1].progress, problems) if attempts else {}
        metrics = {
            path.parent.name: _mapping(path, problems)
            for folder in run.folder.glob("eval/*")
            if os.path.lexists(path := folder / "metrics.json")
        }
        problems += _missing(run, attempts, stamp, record)
        state = _state(run, events, begun=bool(attempts or stamp or record), damaged=bool(problems))
    except OSError as error:
        return RunView(run, "damaged", (f"{error.filename or run.folder}: {error.strerror}",))
    return RunView(run, state, tuple(problems), stamp, record, events, progress, metrics)


def _state(run: Run, events: tuple[Mapping[str, Any], ...], *, begun: bool, damaged: bool) -> State:
    if is_held(run.launch_lock) or is_held(run.run_lock):
        return "running"
    if run.tuned() is not None:
        return "finished"
    kinds = [str(event.get("event")) for event in events]
    last = next((kind for kind in reversed(kinds) if kind in (*_ENDS, *_BEGINS)), "")
    if last in _ENDS and last != "finished":
        return _ENDS[last]
    if damaged or last == "finished":  # its weights are gone
        return "damaged"
    return "cut off" if begun else "not begun"


def _missing(
    run: Run, attempts: list[Attempt], stamp: Mapping[str, Any], record: Mapping[str, Any]
) -> list[str]:
    """Files that a run which got this far has, and this one has not."""
    lost = []
    if record and not stamp and not run.stamp.exists():
        lost.append("backend.json is gone")
    if stamp and not run.config.is_file():
        lost.append("config.yaml is gone")
    if record.get("state") == "finished" and run.tuned() is None:
        lost.append("its weights are gone")
    if stamp and not attempts:
        lost.append("attempts/ is gone")
    lost += [
        f"{folder.name}/{MANIFEST} is gone"
        for folder in (run.adapter, run.model)
        if _unsealed(folder)
    ]
    return lost


def _unsealed(folder: Path) -> bool:
    return folder.is_dir() and not (folder / MANIFEST).is_file()


def _stamp(path: Path, problems: list[str]) -> dict[str, Any]:
    """The stamp's values, also of one that a resume would refuse."""
    value = _mapping(path, problems)
    if not value:
        return {}
    schema = value.get("schema_version")
    if schema != SCHEMA:
        problems.append(
            f"{path.name} has schema {schema}, this sftplay knows {SCHEMA}: shown as far as it is the same"
        )
    else:
        try:
            read_stamp(path)
        except SftplayError as error:
            problems.append(f"{path.name}: {error.what}")
    return value


def _mapping(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON object; {} where there is none, with a word where there is something else."""
    try:
        return read_json(path)
    except NotFoundError:
        return {}
    except SftplayError as error:
        problems.append(f"{path.name}: {error.what}")
        return {}


def _seconds_between(began: datetime, ended: datetime) -> float:
    """Return how long something took: 0 where the clock was set back meanwhile."""
    return max(0.0, (ended - began).total_seconds())


def moment_of(event: Mapping[str, Any]) -> datetime | None:
    """An event's time."""
    try:
        moment = datetime.fromisoformat(str(event.get("time")))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
