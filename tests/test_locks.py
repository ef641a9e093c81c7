"""Locks: held by a process, freed by its death, never stale."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sftplay.errors import BusyError, StorageError
from sftplay.locks import acquire, hold, is_held

HOLDER = """
import sys, time
from pathlib import Path
from sftplay.locks import hold
with hold(Path(sys.argv[1]), who="a trainer"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_who(tmp_path: Path) -> None:
    lock = tmp_path / ".run.lock"
    with hold(lock, who="a trainer"):
        with pytest.raises(BusyError, match="a trainer") as caught, hold(lock, who="another"):
            pass
        assert caught.value.code == 75
        assert is_held(lock)
        with (
            pytest.raises(BusyError, match="another process holds trackio"),
            hold(lock, who="its start", what="trackio"),
        ):
            pass
    assert not is_held(lock)


def test_a_killed_holder_frees_it_at_once(tmp_path: Path) -> None:
    lock = tmp_path / ".run.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert is_held(lock)
    holder.kill()
    holder.wait()
    with hold(lock, who="next"):
        pass


def test_leftover_content_does_not_lock(tmp_path: Path) -> None:
    lock = tmp_path / ".run.lock"
    lock.write_text('{"who": "somebody dead"}')
    with hold(lock, who="next"):
        assert "next" in lock.read_text()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / ".run.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception), hold(tmp_path / ".run.lock", who="next"):  # noqa: B017 - any refusal will do
        pass
    assert (tmp_path / "elsewhere").read_text() == "x"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_no_lock(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(StorageError, match="not a regular file"):
        acquire(path, who="me")


def test_looking_at_a_lock_does_not_keep_anybody_from_taking_it(tmp_path: Path) -> None:
    path, over = tmp_path / "lock", threading.Event()
    path.touch()

    def look() -> None:
        while not over.wait(0.002):  # a hundred times as often as a launcher looks
            is_held(path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            with hold(path, who="me"):
                pass
    finally:
        over.set()
        for looker in lookers:
            looker.join()
