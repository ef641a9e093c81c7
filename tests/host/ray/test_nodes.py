"""Nodes of a Ray cluster that are not fit, each with its reason."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest

from sftplay.host.ray.inside import look_at_node
from sftplay.host.ray.nodes import LookHere, find_problems

HERE = LookHere(uid=1000, sent=100.0, received=103.0)
FIT = {
    **{"node": "n2", "uid": 1000, "time": 101.0, "missing": [], "shared": True},
    **{"got_lock": False, "renamed": True, "room": 1 << 40},
}


@pytest.mark.parametrize(
    ("changes", "seen", "word"),
    [
        ({"shared": False}, True, "same path"),
        ({"uid": 0}, True, "user 0"),
        ({"got_lock": True}, True, "nolock"),
        ({}, False, "not seen here"),
        ({"missing": ["/p/.venv/bin/python"]}, True, "/p/.venv/bin/python"),
        ({"room": 5e8}, True, "only 0.5 GB"),
        ({"error": "the worker died"}, True, "the worker died"),
    ],
)
def test_each_reason_is_said(changes: dict[str, Any], seen: bool, word: str) -> None:
    assert list(find_problems(FIT, HERE, True)) == []
    (problem,) = find_problems({**FIT, **changes}, HERE, seen)
    assert word in problem


@pytest.mark.parametrize(("clock", "skew"), [(100.5, 0.0), (90.0, 10.0), (120.0, 17.0)])
def test_a_clock_is_compared_with_the_time_that_the_look_took(clock: float, skew: float) -> None:
    assert HERE.skew(clock) == skew


def test_a_node_sees_note_lock_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFTPLAY_NODE", "n7")
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    elsewhere = look_at_node(str(tmp_path), "a1", [])  # no note: another folder
    assert not elsewhere["shared"]

    (outputs / ".ray-a1.note").write_text("a1")
    with open(outputs / ".ray-a1.lock", "wb") as held:
        free = look_at_node(str(tmp_path), "a1", [])
        fcntl.flock(held, fcntl.LOCK_EX)
        found = look_at_node(str(tmp_path), "a1", ["/bin/sh", str(tmp_path / "none")])
    assert free["got_lock"] and not found["got_lock"]
    assert found["shared"] and found["renamed"] and found["room"] > 0
    assert (outputs / ".ray-a1.from-n7").read_text() == "a1"
    assert found["missing"] == [str(tmp_path / "none")]
    assert found["uid"] == os.geteuid() and abs(found["time"] - time.time()) < 60
