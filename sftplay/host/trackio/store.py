"""trackio's store of this project: a SQLite file that trackio makes, and this module fills.

trackio's own functions add rows. Records change otherwise too: a resumed training undoes steps, a
run is removed or replaced. So each training is compared with its rows here, and what differs is
written in one transaction: the page never shows half of it, and writing twice changes nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from sftplay import console
from sftplay.errors import SftplayError, StorageError
from sftplay.files import explain_os_error
from sftplay.host.runs.tracked import ANSWERS, TrackedRow, TrackedTraining, iso

PROJECT = "sftplay"
TABLE = "trackio.table"  # trackio's mark of a table
# Troubles of the disk or of other processes. What else SQLite reports is a damaged store.
_NOT_DAMAGE = ("FULL", "IOERR", "READONLY", "CANTOPEN", "BUSY", "LOCKED", "PERM", "NOMEM")
_COLUMNS = "run_id, run_name, step, timestamp, metrics"
_COMPACT = (",", ":")  # trackio's page looks for text of this form to see which tabs have something
_Row = tuple[str, str, int, str, str]


class Store:
    """The open store. TRACKIO_DIR says where; it is set before this process starts.

    Raises:
        StorageError: it can't be written (74). PermissionDeniedError (77).
    """

    def __init__(self) -> None:
        self.rebuilt = 0
        try:
            self._make()
        except sqlite3.DatabaseError as error:
            self.rebuild(error)

    def is_there(self) -> bool:
        """Return whether the file still exists: somebody may have removed it."""
        return self.path.is_file()

    def rebuild(self, error: sqlite3.Error) -> None:
        """Remove a damaged store, and begin an empty one.

        Raises:
            StorageError: it is not the store, but the disk or another process (74).
        """
        raise_unless_damaged(error, self.path)
        why = " ".join(str(error).split())[:120]
        console.warning(
            f"trackio's store was damaged ({why}): it is built again from the runs' records"
        )
        try:
            self.path.unlink(missing_ok=True)
            self._make()
        except OSError as trouble:
            raise explain_os_error(trouble, self.path) from trouble
        self.rebuilt += 1

    def write(self, training: TrackedTraining) -> int:
        """Make the rows of a training those of its records. Returns how many were written."""
        wanted = [_encode(training, row) for row in training.rows]
        config = json.dumps(dict(training.config), ensure_ascii=False, sort_keys=True)
        with self._transaction() as base:
            same = _keep_same(base, training.key, wanted)
            base.executemany(
                f"INSERT INTO metrics ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608 - ours
                wanted[same:],
            )
            base.execute(
                "INSERT OR REPLACE INTO configs (run_id, run_name, config, created_at)"
                " SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS"
                " (SELECT 1 FROM configs WHERE run_id = ?1 AND run_name = ?2 AND config = ?3)",
                (training.key, training.name, config, wanted[0][3]),
            )
        return len(wanted) - same

    def remove(self, keys: Sequence[str]) -> None:
        """Remove these trainings."""
        with self._transaction() as base:
            for table in ("metrics", "configs"):
                base.executemany(
                    f"DELETE FROM {table} WHERE run_id = ?",  # noqa: S608 - two names of ours
                    [(key,) for key in keys],
                )

    def trainings(self) -> list[str]:
        """Return the keys of the trainings in the store."""
        with self._transaction() as base:
            found = base.execute(
                "SELECT run_id FROM metrics UNION SELECT run_id FROM configs ORDER BY 1"
            )
            return [key for (key,) in found]

    def _make(self) -> None:
        """Let trackio make the file where it is missing, and see that it is whole."""
        from trackio.sqlite_storage import SQLiteStorage
        from trackio.utils import TRACKIO_DIR, is_network_filesystem

        self.path = Path(SQLiteStorage.get_project_db_path(PROJECT))
        try:
            if is_network_filesystem(TRACKIO_DIR):  # SQLite's log is for local disks
                os.environ["TRACKIO_SQLITE_JOURNAL_MODE"] = "delete"
            if not self.path.exists():
                for left in self.path.parent.glob(f"{self.path.name}-*"):  # of one that was removed
                    left.unlink()
            SQLiteStorage.init_db(PROJECT)
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        with self._transaction() as base:
            (found,) = base.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            base.execute(f"SELECT {_COLUMNS} FROM metrics LIMIT 1")  # noqa: S608 - ours

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30)) as base, base:
            yield base


def raise_unless_damaged(error: sqlite3.Error, path: Path) -> None:
    """Raise StorageError (74) for what a new store would not cure."""
    name = getattr(error, "sqlite_errorname", "")
    if any(part in name for part in _NOT_DAMAGE):
        trouble: SftplayError = StorageError(
            f"trackio's store can't be written ({error})",
            where=str(path),
            todo="see to the disk and who owns the folder; then inv trackio again",
        )
        raise trouble from error


def _keep_same(base: sqlite3.Connection, key: str, wanted: Sequence[_Row]) -> int:
    """Delete the rows of a training from the first one on that differs. Returns how many stay."""
    stored = base.execute(
        f"SELECT id, {_COLUMNS} FROM metrics WHERE run_id = ? ORDER BY id",  # noqa: S608 - ours
        (key,),
    ).fetchall()
    same = 0
    for (_, *row), expected in zip(stored, wanted, strict=False):
        if tuple(row) != expected:
            break
        same += 1
    if same < len(stored):
        base.execute("DELETE FROM metrics WHERE run_id = ? AND id >= ?", (key, stored[same][0]))
    return same


def _encode(training: TrackedTraining, row: TrackedRow) -> _Row:
    metrics = dict(row.metrics)
    if ANSWERS in metrics:
        metrics[ANSWERS] = {"_type": TABLE, "_value": metrics[ANSWERS]}
    text = json.dumps(metrics, ensure_ascii=False, separators=_COMPACT)
    return training.key, training.name, row.step, iso(row.moment), text
