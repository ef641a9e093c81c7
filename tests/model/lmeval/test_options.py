"""Options of an evaluation that exclude each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.box import Box


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--write-task", "--tasks=exam.yaml"), "--write-task writes the run's own rows"),
        (("--split=test", "--tasks=exam.yaml"), "--split test is for the run's own rows"),
        (("--tasks=",), "--tasks names tasks"),
    ],
)
def test_what_would_be_ignored_is_refused(
    trained_project: Path, box: Box, words: tuple[str, ...], said: str
) -> None:
    before = {*trained_project.glob("outputs/demo/eval/**")}
    ran = box.run("eval", "--run", "demo", *words, cwd=trained_project)
    assert ran.code == 2 and said in ran.err, ran.err
    assert {*trained_project.glob("outputs/demo/eval/**")} == before
