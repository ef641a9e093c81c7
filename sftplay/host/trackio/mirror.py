"""A mirror of the runs' records in trackio's store, brought up to date again and again."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

from sftplay import console
from sftplay.errors import SftplayError
from sftplay.host.runs import tracked
from sftplay.host.trackio.store import Store
from sftplay.runs import Run

PAUSE = 3.0  # seconds between two looks at the records


class Mirror:
    """The store, kept equal to the records in outputs/.

    Args:
        only: show this run, whatever its trackers are; None: every run that names trackio.
    """

    def __init__(self, store: Store, only: str | None = None) -> None:
        self._store, self._only = store, only
        self._seen: dict[str, Any] = {}
        self._said = ""

    def follow(self, stop: threading.Event) -> None:
        """Update until `stop` is set. A trouble is said once, and tried again."""
        while not stop.wait(PAUSE):
            try:
                self.update()
                self._said = ""
            except SftplayError as error:
                if str(error) != self._said:
                    console.failure(error)
                self._said = str(error)

    def update(self) -> int:
        """Bring the store up to date. Returns how many rows were written.

        Raises:
            StorageError: the store can't be written (74).
        """
        try:
            if not self._store.is_there():
                self._store, self._seen = Store(), {}
            return self._update()
        except sqlite3.Error as error:
            self._store.rebuild(error)
            self._seen = {}
            return self._update()

    def _update(self) -> int:
        runs = tracked.candidates(self._only)
        now = {run.name: tracked.state_of(run) for run in runs}
        if not self._seen or self._seen.keys() - now.keys():
            gone = [key for key in self._store.trainings() if key.partition("/")[0] not in now]
            self._store.remove(gone)
        written = 0
        for run in runs:
            if self._seen.get(run.name) != now[run.name]:
                written += self._show(run)
        self._seen = now
        return written

    def _show(self, run: Run) -> int:
        shown = bool(self._only) or tracked.is_tracked(run)
        found = tracked.trainings(run) if shown else []
        mine = {key for key in self._store.trainings() if key.partition("/")[0] == run.name}
        self._store.remove(sorted(mine - {training.key for training in found}))
        return sum(self._store.write(training) for training in found)
