"""Output of tasks of lm-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.model.lmeval.report import what_it_replaces

ASKED = {"limit": None, "chat_template": False, "system": None}


def files(task: str, data: str, found: str = "sha256:1") -> dict[str, dict[str, str]]:
    return {"yaml": {task: "sha256:0"}, "data": {data: found}}


RECORD: dict[str, Any] = {
    "rows": {"exam": 60},
    "settings": ASKED,
    "files": files("exam.yaml", "data/exam.jsonl"),
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"rows": {"exam": 61}}, "60 rows"),
        ({"settings": {**ASKED, "chat_template": True}}, "60 rows, without the chat template"),
        ({"settings": {**ASKED, "system": "Rhyme."}}, "60 rows, with another style prompt"),
        ({"files": files("exam.yaml", "data/exam.jsonl", "sha256:2")}, "60 rows of other files"),
        ({"files": files("../exam.yaml", "../data/exam.jsonl")}, ""),
        ({"datasets": [{"dataset": "a/b", "revision": "1"}]}, "60 rows of other datasets"),
    ],
)
def test_an_evaluation_that_replaces_another_kind_says_so(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert what_it_replaces(tmp_path, RECORD) == ""
    (tmp_path / "metrics.json").write_text(json.dumps(RECORD))
    found = what_it_replaces(tmp_path, {**RECORD, **changes})
    assert found == (said and f"replaces the evaluation of {said}")
