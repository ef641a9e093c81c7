"""Marks of messages in the words of several toolkits."""

from __future__ import annotations

from typing import Any

import pytest

from sftplay.data.formats.marks import is_trained
from sftplay.data.formats.row_notes import RowNotes
from sftplay.data.rejects import BadRowError


@pytest.mark.parametrize(
    "mark",
    [{"train": False}, {"loss": False}, {"loss": 0}, {"weight": 0}, {"weight": 0.0}, {"label": False}, {"masked": True}, {"masked": 1},
     {"loss": False, "train": False, "masked": True, "weight": None}],
)  # fmt: skip
def test_not_trained(mark: dict[str, Any]) -> None:
    assert not is_trained(mark, "assistant", RowNotes())


@pytest.mark.parametrize(
    "mark",
    [
        {},
        {"train": True},
        {"loss": 1},
        {"weight": 1.0},
        {"label": True},
        {"masked": False},
        {"loss": None},
    ],
)
def test_trained(mark: dict[str, Any]) -> None:
    assert is_trained(mark, "assistant", RowNotes())


@pytest.mark.parametrize(
    "mark",
    [
        {"train": "no"},
        {"weight": 0.5},
        {"loss": [0, 1]},
        {"label": "good"},
        {"train": True, "loss": False},
    ],
)
def test_marks_that_can_not_be_followed(mark: dict[str, Any]) -> None:
    with pytest.raises(BadRowError, match=r"marks? that"):
        is_trained(mark, "assistant", RowNotes())


@pytest.mark.parametrize(
    ("mark", "found"),
    [({"loss": True}, 1), ({"train": True}, 1), ({"weight": 1}, 0), ({"loss": False}, 0)],
)
def test_a_prompt_marked_as_trained_is_a_finding(mark: dict[str, Any], found: int) -> None:
    notes = RowNotes()
    is_trained(mark, "user", notes)
    assert len(notes.findings) == found
