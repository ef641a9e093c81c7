"""Staleness: what a stamp vouches for, and why a stage has to run again, with both values."""

from pathlib import Path

import pytest

from sftplay.errors import StorageError
from sftplay.freshness import (
    FORMATS,
    STAMP,
    DataStamp,
    read_stamp,
    why_stale,
)


def test_a_stamp_comes_back_as_it_was_written(tmp_path: Path) -> None:
    stamp = DataStamp(
        "style",
        "s",
        {"style.prompt": "Rhyme."},
        ("style.mode=append",),
        {"style": "Rhyme."},
        "o",
        {"n": 1},
    )
    stamp.write(tmp_path)
    again = read_stamp(tmp_path)
    assert again is not None
    assert (again.section, again.overrides, again.options) == (
        stamp.section,
        stamp.overrides,
        stamp.options,
    )
    assert again.format == FORMATS["style"]
    assert read_stamp(tmp_path / "elsewhere") is None


def test_a_damaged_stamp_is_named(tmp_path: Path) -> None:
    (tmp_path / STAMP).write_text('{"stage": ')
    with pytest.raises(StorageError, match=r"stamp\.json"):
        read_stamp(tmp_path)


@pytest.mark.parametrize(
    ("source", "section", "reason"),
    [
        ("s", {"a": 1}, None),
        ("t", {"a": 1}, "its input changed"),
        ("s", {"a": 2}, "settings changed: a 1 → 2"),
        ("s", {"a": 1, "b": "x"}, "settings changed: b null → 'x'"),
        ("s", {"a": ["one", 2]}, 'settings changed: a 1 → ["one", 2]'),
        ("s", {"a": "sha256:0123456789"}, "settings changed: a 1 → sha256:0123456"),
    ],
)
def test_why_stale(source: str, section: dict[str, int], reason: str | None) -> None:
    stamp = DataStamp("process", "s", {"a": 1}, format=FORMATS["process"])
    assert why_stale(stamp, "process", source, section) == reason


def test_an_older_format_is_stale() -> None:
    assert "older version" in str(
        why_stale(DataStamp("process", "s", {}, format=0), "process", "s", {})
    )
