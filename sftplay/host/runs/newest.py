"""The run that a command means when it names none."""

from __future__ import annotations

from datetime import datetime, timezone

from sftplay import console
from sftplay.errors import NotFoundError
from sftplay.host.runs.view import RunView, moment_of, read_runs
from sftplay.places import OUTPUTS


def newest_finished() -> RunView:
    """Return the run that finished last, and print its name.

    Raises:
        NotFoundError: none has finished (66).
    """
    views = list(read_runs())
    finished = [view for view in views if view.run.tuned() is not None]
    if finished:
        return _chosen(max(finished, key=_last_moment), "the newest finished one")
    running = [view.name for view in views if view.state == "running"]
    if running:
        raise NotFoundError(
            f"no run has finished yet; {running[0]} is running",
            where=str(OUTPUTS),
            todo=f"inv logs {running[0]} -f follows it",
        )
    raise _none()


def running_or_newest() -> RunView:
    """Return the run that trains now, else the one that finished last, else the last one that did
    not, and print its name.

    Raises:
        NotFoundError: there is none (66).
    """
    views = list(read_runs())
    running = [view for view in views if view.state == "running"]
    if running:
        return _chosen(max(running, key=_last_moment), "it is running")
    if views and not any(view.run.tuned() for view in views):
        newest = max(views, key=_last_moment)
        return _chosen(newest, f"{newest.state}; no run has finished here yet")
    return newest_finished()


def _chosen(view: RunView, why: str) -> RunView:
    console.info(f"run {view.name} ({why})")
    return view


def _none() -> NotFoundError:
    return NotFoundError(
        "no run has finished here yet", where=str(OUTPUTS), todo="inv quickstart, or inv train"
    )


def _last_moment(view: RunView) -> datetime:
    """Return the time of the last event; torn histories come first."""
    moments = [moment for moment in map(moment_of, view.events) if moment is not None]
    return max(moments, default=datetime.min.replace(tzinfo=timezone.utc))
