"""A public task: its dataset fetched from a server that answers as the hub does, pinned, and evaluated
without network.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.model.hub.dataset_hub import COMMIT, serving
from tests.model.lmeval.test_run import CHOICE, _run, python, record

pytestmark = pytest.mark.long  # an environment of 620 MB, and 20 s to read lm-eval's list of tasks

ROWS = [
    {
        "id": f"q{i}",
        "question": f"How many clips are {i} and {i * 7}?",
        "choices": {"text": ["the quick", f"{i * 8} clips", "May"], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[i % 3],
    }
    for i in range(12)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CARD = """---
configs:
- config_name: ARC-Challenge
  data_files: [{split: test, path: ARC-Challenge/test.jsonl}]
- config_name: ARC-Easy
  data_files:
  - {split: train, path: ARC-Easy/test.jsonl}
  - {split: validation, path: ARC-Easy/test.jsonl}
  - {split: test, path: ARC-Easy/test.jsonl}
---
"""
FILES = {
    "README.md": CARD.encode(),
    "ARC-Easy/test.jsonl": LINES.encode(),
    "ARC-Challenge/test.jsonl": b"{}\n",
    "ai2_arc.py": b"raise SystemExit",
}

__all__ = ["python"]


def test_a_public_task_is_fetched_pinned_and_measured_offline(
    trained_project: Path, tmp_path: Path, python: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(trained_project, project)
    stage = ("-m", "sftplay")
    cache = {"SFTPLAY_CACHE": str(tmp_path / "cache")}
    evaluate = (*stage, "eval", "--run", "demo", "--tasks")
    done = _run(python, *evaluate, "arc_easy", cwd=project, **cache)
    assert done.returncode == 66 and "inv fetch --tasks arc_easy" in done.stderr, done.stderr
    with serving("allenai/ai2_arc", FILES) as hub:
        online = dict.fromkeys(
            ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"), ""
        )
        env = {**cache, **online, "HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"}
        env["NO_PROXY"] = "127.0.0.1"
        fetch = (*stage, "fetch", "--run", "demo", "--tasks", "arc_easy")
        done = _run(python, *fetch, cwd=project, **env)
        assert done.returncode == 0, done.stderr
    assert not [*(tmp_path / "cache").rglob("*.py")]
    done = _run(python, *evaluate, "arc_easy", cwd=project, **cache)
    assert done.returncode == 0, done.stderr
    found = record(project, "arc_easy")
    assert found["datasets"] == [{"dataset": "allenai/ai2_arc", "revision": COMMIT}]
    assert found["rows"] == {"arc_easy": 12}

    own = {
        **CHOICE,
        "task": "same",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices.text}}",
        "doc_to_target": "{{choices.label.index(answerKey)}}",
    }
    (project / "data/rows.jsonl").write_text(LINES)
    (project / "same.yaml").write_text(yaml.safe_dump(own))
    done = _run(python, *evaluate, "same.yaml", cwd=project, **cache)
    assert done.returncode == 0, done.stderr
    expected = record(project, "same")["metrics"]
    assert {name: found["metrics"][name] for name in expected} == expected
