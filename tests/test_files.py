"""Files that matter appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sftplay import files, untrusted
from sftplay.errors import NotFoundError, PermissionDeniedError, StorageError
from sftplay.temporary import TMP_PREFIX


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), files.atomic_open(path) as out:
        out.write(b"half")
        raise RuntimeError
    assert untrusted.read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_same_value_same_bytes(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a", {"b": 1, "a": [2.5, "ü"]})
    files.write_json(tmp_path / "b", {"a": [2.5, "ü"], "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_torn_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(StorageError) as caught:
        untrusted.read_json(tmp_path / "a.json")
    assert "a.json" in caught.value.where


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.json"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(StorageError):
        untrusted.read_json(path)
    with pytest.raises(StorageError):
        files.append_line(path, "x")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    for name in ("events.jsonl", f"{TMP_PREFIX}a.json.{os.getpid()}"):
        (tmp_path / name).symlink_to("precious")
    with pytest.raises(StorageError):
        files.append_line(tmp_path / "events.jsonl", "x")
    files.write_json(tmp_path / "a.json", {})
    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "events.jsonl", "precious"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageError),
        (errno.EDQUOT, StorageError),
        (errno.EACCES, PermissionDeniedError),
        (errno.EROFS, PermissionDeniedError),
        (errno.ENOENT, NotFoundError),
        (errno.EIO, StorageError),
    ],
)
def test_system_errors_get_their_class(number: int, kind: type[Exception], tmp_path: Path) -> None:
    assert (
        type(files.explain_os_error(OSError(number, os.strerror(number)), tmp_path / "gone" / "x"))
        is kind
    )


def test_hash_of_several_files_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    both = files.hash_files([tmp_path / "b", tmp_path / "a"], tmp_path)
    assert both == files.hash_files([tmp_path / "a", tmp_path / "b"], tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    assert both != files.hash_files([tmp_path / "a", tmp_path / "c"], tmp_path)


def test_sizes_for_people() -> None:
    assert [files.human_size(n) for n in (0, 999, 1500, 98_362_432, 6e9)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "98.4 MB",
        "6.0 GB",
    ]
