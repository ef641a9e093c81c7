"""Files that somebody else could have written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sftplay.errors import NotFoundError, StorageError
from sftplay.files import open_regular
from sftplay.untrusted import (
    MAX_DEPTH,
    parse_json,
    read_bytes,
    read_json,
    read_lines,
    read_model_json,
    read_tail,
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"1" + b"]" * depth


@pytest.mark.parametrize(
    "good",
    [nested(MAX_DEPTH), b"9" * 40, b'{"a": "\\ud83d\\ude00"}', b"[1e99, 0.12345678901234567890]"],
)
def test_bounded_json_is_read_as_the_library_reads_it(good: bytes) -> None:
    assert parse_json(good) == json.loads(good)


@pytest.mark.parametrize(
    "bad",
    [nested(MAX_DEPTH + 1), nested(100_000), b"9" * 42, b"-" + b"9" * 42, b"NaN", b"[-Infinity]",
     b"1e999", b'"\\udc00"', b'{"\\ud800": 1}', b"\xff", b"", b'{"a": 1'],
)  # fmt: skip
def test_unbounded_json_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(bad)


def test_a_model_may_have_numbers_that_json_has_not(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text('{"limit": Infinity, "length": 1000000000000000019884624838656}')
    (tmp_path / "config.json").symlink_to("blob")  # as in the hub's cache
    assert read_model_json(tmp_path / "config.json")["limit"] == float("inf")


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "empty"), ("<html>404", "web page"), ("[1]", "list"), ("3", "object"), ('{"a"', "JSON")],
)
def test_what_stands_in_the_place_of_a_model_file_is_named(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(StorageError, match=said) as caught:
        read_model_json(tmp_path / "config.json")
    assert caught.value.todo


def test_fields_that_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"folder": 3}')
    with pytest.raises(StorageError, match="folder"):
        read_json(path, folder=str)
    assert read_json(path, folder=int) == {"folder": 3}


def test_no_link_below_what_a_container_has_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk/run/eval").mkdir(parents=True)
    (tmp_path / "disk/run/eval/a").write_text("x")
    Path("outputs").symlink_to("disk")
    Path("outputs/linked").symlink_to(tmp_path / "disk/run")
    assert read_bytes(Path("outputs/linked/eval/a")) == b"x"  # the user's own links
    (tmp_path / "disk/run/tb").symlink_to("eval")
    with pytest.raises(StorageError, match="link"):
        read_bytes(Path("outputs/run/tb/a"))
    with pytest.raises(NotFoundError):
        read_bytes(Path("outputs/run/none/a"))
    assert read_bytes(tmp_path / "disk/run/eval/a") == b"x"


def test_more_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthree\n")
    assert list(read_lines(path)) == [b"one\n", b"two\n", b"three\n"]
    found = read_lines(path, limit=8)
    assert [next(found), next(found)] == [b"one\n", b"two\n"]
    with pytest.raises(StorageError, match="larger"):
        next(found)
    with pytest.raises(StorageError, match="larger"):
        read_bytes(path, limit=13)
    assert read_tail(path, 6) == b"three\n"


def test_no_descriptor_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outputs/run/eval").mkdir(parents=True)
    os.mkfifo("outputs/run/eval/pipe")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("pipe", "none", "none/deep"):
        with (
            pytest.raises((StorageError, NotFoundError)),
            open_regular(Path("outputs/run/eval", name)),
        ):
            pass
    assert len(os.listdir("/proc/self/fd")) == before
