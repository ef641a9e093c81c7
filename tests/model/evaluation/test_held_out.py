"""Rows of an evaluation: the same ones every time; changes since training are reported."""

from __future__ import annotations

import json
from pathlib import Path

from tests.box import Box
from tests.model.run_files import read_metrics, read_samples


def test_all_is_everything_that_was_held_out(trained: Path, box: Box) -> None:
    ran = box.run(
        "eval", "--run", "demo", "--split", "all", "--set", "eval.max_new_tokens=4", cwd=trained
    )
    assert ran.code == 0, ran.err
    held_out = {
        json.loads(line)["id"]
        for split in ("val", "test")
        for line in (trained / "data/processed" / f"{split}.jsonl").read_text().splitlines()
    }
    assert {sample["id"] for sample in read_samples(trained, "all")} == held_out


def test_an_empty_split(trained: Path, box: Box) -> None:
    for stage in ("process", "render", "tokenize"):
        assert (
            box.run(stage, "--config", "demo.yaml", "--set", "data.test_share=0", cwd=trained).code
            == 0
        )
    ran = box.run("eval", "--run", "demo", "--split", "test", cwd=trained)
    assert ran.code == 65 and "the test split is empty" in ran.err and "data.test_share" in ran.err
    assert not (trained / "outputs/demo/eval/test").exists()


def test_data_that_moved_since_training_is_said(trained: Path, box: Box) -> None:
    raw = trained / "data/raw/rows.jsonl"
    extra = [{"user": f"What is {i} plus one?", "assistant": f"It is {i + 1}."} for i in range(40)]
    raw.write_text(raw.read_text() + "".join(json.dumps(row) + "\n" for row in extra))
    for stage in ("process", "render", "tokenize"):
        assert box.run(stage, "--config", "demo.yaml", cwd=trained).code == 0
    ran = box.run("eval", "--run", "demo", "--set", "eval.max_new_tokens=4", cwd=trained)
    assert ran.code == 0
    assert (
        "the train split changed" in ran.err
        and "may have been trained on" in ran.err
        and "the val split changed" in ran.err
    )
    assert len(read_metrics(trained)["data_changed_since_training"]) == 2
    assert "not that of the training" in (trained / "outputs/demo/eval/val/report.md").read_text()
