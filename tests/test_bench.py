"""The benchmarks' arithmetic and their page: a ratio that is turned round would praise the slower
one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import _versus
from bench._versus import Taken, ratios, seconds, take_turns, write


def test_a_ratio_above_one_means_that_ours_was_faster() -> None:
    turns = {"ours": [Taken(2, 0, 0), Taken(4, 0, 0)], "theirs": [Taken(6, 0, 0), Taken(6, 0, 0)]}
    assert ratios(turns, "ours", "theirs", seconds) == "2.00 × (1.50 to 3.00)"
    assert ratios(turns, "ours", "nobody", seconds) == "not measured"


def test_contestants_take_turns_and_one_that_fails_is_left_out() -> None:
    order: list[str] = []

    def run(name: str) -> Taken:
        order.append(name)
        if name == "b":
            raise RuntimeError("no such environment")
        return Taken(1, 0, 0)

    turns = take_turns({name: (lambda name=name: run(name)) for name in "abc"}, 2)
    assert order == ["a", "b", "c", "a", "c"]
    assert {name: len(taken) for name, taken in turns.items()} == {"a": 2, "c": 2}


def test_a_second_measurement_replaces_the_first_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "torch", reason="the page names the version of torch: needs the dev environment"
    )
    page = tmp_path / "benchmarks.md"
    monkeypatch.setattr(_versus, "DOCUMENT", page)
    monkeypatch.setattr(_versus, "ROOT", tmp_path)
    write("train", ["first"])
    write("eval", ["other"])
    write("train", ["second"])
    text = page.read_text(encoding="utf-8")
    assert "first" not in text and text.count("second") == 1 and text.count("other") == 1
    assert text.index("second") < text.index("other")
