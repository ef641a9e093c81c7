"""A training whose run belongs to another start writes nothing more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.errors import BusyError, StorageError
from sftplay.fencing import require_own_run
from sftplay.locks import hold
from sftplay.runs import Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFTPLAY_NONCE", "mine")
    found = Run("demo")
    found.launch.mkdir(parents=True)
    return found


def record(run: Run, number: int, nonce: str) -> None:
    (run.launch / f"start-{number:03d}.json").write_text(json.dumps({"nonce": nonce}))


def test_the_newest_start_may_write(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold(run.run_lock, who="a trainer"):
        require_own_run(run)  # started without a launcher that writes records
        record(run, 8, "another")
        record(run, 9, "mine")
        require_own_run(run)
        record(run, 10, "another")  # by number, not by name
        with pytest.raises(BusyError, match="another start"):
            require_own_run(run)
        monkeypatch.delenv("SFTPLAY_NONCE")
        require_own_run(run)  # `python -m sftplay train`, which has no record: its lock decides


def test_a_lost_lock_ends_it(run: Run) -> None:
    record(run, 1, "mine")
    with hold(run.run_lock, who="a trainer"):
        require_own_run(run)
        run.run_lock.unlink()  # as a server that forgot it: the path leads to another file
        run.run_lock.touch()
        with pytest.raises(StorageError, match="lock of this run was lost"):
            require_own_run(run)
        with hold(run.ranks_lock, who="ranks"):
            require_own_run(
                run
            )  # their front was killed: the ranks save, and hold a lock of their own
