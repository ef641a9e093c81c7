"""A run as lists and reports show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from sftplay.host.system.disk import disk_size
from sftplay.runs import Run

State = Literal["running", "finished", "interrupted", "failed", "cut off", "not begun", "damaged"]


ENDS: Mapping[str, State] = {
    "failed": "failed",
    "interrupted": "interrupted",
    "finished": "finished",
}


BEGINS = ("started", "resumed")


@dataclass(frozen=True)
class RunView:
    """The contents of a run folder.

    Attributes:
        problems: what could not be read, for people.
        stamp: backend.json; record: run.json; events: events.jsonl. Empty where there is none.
        progress: progress.json of the newest attempt.
        metrics: eval/<split>/metrics.json by split.
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
    def seconds(self) -> float | None:
        """Return the training's duration, all its starts together; that of a running one so far."""
        total, began = 0.0, None
        for event in self.events:
            moment = moment_of(event)
            if moment is None:
                continue
            if event.get("event") in BEGINS:
                began = moment
            elif event.get("event") in ENDS and began is not None:
                total, began = total + (moment - began).total_seconds(), None
        if began is not None and self.state == "running":
            total += (datetime.now(timezone.utc) - began).total_seconds()
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

    def metric(self, name: str) -> tuple[str, float, float] | None:
        """(split, base, tuned) of a metric of the evaluation, val before test."""
        for split, record in sorted(self.metrics.items(), key=lambda item: item[0] != "val"):
            values = record.get("metrics", {}).get(name)
            base, tuned = number_in(values, "base"), number_in(values, "tuned")
            if base is not None and tuned is not None:
                return split, base, tuned
        return None


def number_in(values: object, key: str) -> float | None:
    """A number in a mapping; None for everything else that may stand there."""
    value = values.get(key) if isinstance(values, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def moment_of(event: Mapping[str, Any]) -> datetime | None:
    """An event's time."""
    try:
        moment = datetime.fromisoformat(str(event.get("time")))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
