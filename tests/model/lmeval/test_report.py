"""Output of tasks of lm-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.model.lmeval.report import what_it_replaces

RECORD: dict[str, Any] = {
    "rows": {"exam": 60},
    "settings": {"limit": None, "chat_template": False, "system": None},
    "files": {"data": {"data/exam.jsonl": "sha256:1"}},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"rows": {"exam": 61}}, "60 rows, without the chat template"),
        ({"settings": {**RECORD["settings"], "chat_template": True}}, "60 rows, without"),
        ({"files": {"data": {"data/exam.jsonl": "sha256:2"}}}, "60 rows of other files"),
    ],
)
def test_an_evaluation_that_replaces_another_kind_says_so(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert what_it_replaces(tmp_path, RECORD) == ""
    (tmp_path / "metrics.json").write_text(json.dumps(RECORD))
    found = what_it_replaces(tmp_path, {**RECORD, **changes})
    assert said in found and bool(found) == bool(said)
