"""Output folders: all files change together, an interrupted or full disk leaves the old ones, edits
by hand are noticed.
"""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sftplay.data import output
from sftplay.errors import BusyError, NotFoundError, StorageError
from sftplay.freshness import STAMP, DataStamp, read_stamp


def write(folder: Path, text: str) -> None:
    with output.new_files(folder, "process") as tmp:
        (tmp / "train.jsonl").write_text(text)
        (tmp / "val.jsonl").write_text(text)
        DataStamp(
            "process", "s", {}, facts={"files": output.marks(tmp, ["train.jsonl", "val.jsonl"])}
        ).write(tmp)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_files_are_replaced_and_others_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    write(tmp_path, "old")
    write(tmp_path, "new")
    assert (tmp_path / "train.jsonl").read_text() == "new"
    assert visible(tmp_path) == [".gitkeep", STAMP, "train.jsonl", "val.jsonl"]


def test_a_failure_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "old")
    with (
        pytest.raises(StorageError, match="disk is full"),
        output.new_files(tmp_path, "process") as tmp,
    ):
        (tmp / "train.jsonl").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp / "train.jsonl"))
    assert (tmp_path / "train.jsonl").read_text() == "old"
    assert visible(tmp_path) == [STAMP, "train.jsonl", "val.jsonl"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from sftplay.data.output import new_files
with new_files(Path({str(tmp_path)!r}), "process") as tmp:
    (tmp / "train.jsonl").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    time.sleep(0.1)  # what changed just now could be a writer's that has not locked it yet
    write(tmp_path, "whole")
    assert visible(tmp_path) == [STAMP, "train.jsonl", "val.jsonl"]


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with (
        output.new_files(tmp_path, "process"),
        pytest.raises(BusyError),
        output.new_files(tmp_path, "process"),
    ):
        pass


def test_source_of_notices_an_edit_but_not_a_touch(tmp_path: Path) -> None:
    names = ["train.jsonl", "val.jsonl"]
    write(tmp_path, "rows")
    stamp = read_stamp(tmp_path)
    before = output.source_of(tmp_path, names, stamp)
    os.utime(tmp_path / "train.jsonl")
    assert output.source_of(tmp_path, names, stamp) == before
    (tmp_path / "train.jsonl").write_text("rowz")
    assert output.source_of(tmp_path, names, stamp) != before
    (tmp_path / "val.jsonl").unlink()
    assert output.lost_file(tmp_path, stamp) == "val.jsonl is gone"
    with pytest.raises(NotFoundError):
        output.source_of(tmp_path, names, stamp)
