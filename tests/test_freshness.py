"""Staleness and stickiness: what was asked for on a command line survives a refresh, and what is
asked today wins.
"""

from pathlib import Path

import pytest

from sftplay.cli import make_job
from sftplay.errors import StorageError
from sftplay.freshness import (
    FORMATS,
    STAMP,
    DataStamp,
    read_stamp,
    refreshed,
    relevant,
    section_of,
    why_stale,
)

KEYS = ("data.val_share", "data.fields")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("data:\n  val_share: 0.2\n")
    return path


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
        ("s", {"a": 2}, "settings changed: a"),
        ("s", {"a": 1, "b": 2}, "settings changed: b"),
    ],
)
def test_why_stale(source: str, section: dict[str, int], reason: str | None) -> None:
    stamp = DataStamp("process", "s", {"a": 1}, format=FORMATS["process"])
    assert why_stale(stamp, "process", source, section) == reason


def test_an_older_format_is_stale() -> None:
    assert "older version" in str(
        why_stale(DataStamp("process", "s", {}, format=0), "process", "s", {})
    )


def test_only_overrides_of_the_section_are_stamped() -> None:
    given = [
        "data.val_share=0.1",
        "data.fields.user=q",
        "train.epochs=3",
        "run.name='x'",
        "data.val_share_x=1",
    ]
    assert relevant(given, KEYS) == ("data.val_share=0.1", "data.fields.user=q")


def test_the_last_of_several_overrides_of_a_key_is_stamped() -> None:
    assert relevant(["data.val_share=0.1", "data.fields.user=q", "data.val_share=0.2"], KEYS) == (
        "data.fields.user=q",
        "data.val_share=0.2",
    )


def test_an_override_of_today_beats_a_stamped_option_for_the_same_setting(config: Path) -> None:
    stamp = DataStamp("style", "s", {}, (), {"style": "Rhyme.", "mode": "append"})
    job = refreshed(make_job(str(config), None, ["style.prompt='Be brief.'"], {}), "style", stamp)
    assert job.options == {"style": None, "mode": "append"}
    assert job.settings.style.prompt == "Be brief."


def test_a_refresh_repeats_what_was_asked_for_then(config: Path) -> None:
    stamp = DataStamp(
        "style",
        "s",
        {},
        ("data.val_share=0.1", "data.test_share=0.3"),
        {"style": "Rhyme.", "mode": None},
    )
    today = make_job(str(config), None, ["data.test_share=0.4"], {"no_auto": True})
    job = refreshed(today, "style", stamp)
    assert job.options == {"style": "Rhyme.", "mode": None}
    assert section_of(job.settings, "data.val_share", "data.test_share") == {
        "data.val_share": 0.1,  # stamped, over the file's 0.2
        "data.test_share": 0.4,  # asked for today
    }


def test_an_option_of_today_wins(config: Path) -> None:
    stamp = DataStamp("style", "s", {}, (), {"style": "Rhyme.", "mode": "append"})
    job = refreshed(
        make_job(str(config), None, [], {"style": "Be brief.", "mode": None}), "style", stamp
    )
    assert job.options == {"style": "Be brief.", "mode": "append"}


def test_without_a_stamp_the_job_is_todays(config: Path) -> None:
    job = refreshed(make_job(str(config), None, [], {}), "render", None)
    assert job.options == {"no_style": None}
    assert job.settings.data.val_share == 0.2
