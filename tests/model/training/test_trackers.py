"""Trackers of a training: what it writes for them, and that a resume may change them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.box import Box


def test_event_files_are_written_for_tensorboard_alone_and_a_resume_may_change_trackers(
    project: Path, box: Box
) -> None:
    argv = ("train", "--config", "demo.yaml", "--set", "eval.show=1", "--set", "eval.max_new_tokens=4")  # fmt: skip
    run = project / "outputs/demo"
    ran = box.run(*argv, "--set", "train.max_steps=2", "--set", "train.trackers=[]", cwd=project)
    assert ran.code == 0, ran.err
    assert not (run / "tb").exists() and "trackio" not in ran.err
    assert json.loads((run / "run.json").read_text())["trackers"] == []
    assert (run / "attempts/01-bnb/samples.jsonl").is_file()
    more = ("--resume", "--set", "train.max_steps=4", "--set", "train.trackers=[trackio]")
    ran = box.run(*argv, *more, cwd=project)
    assert ran.code == 0, ran.err
    assert "`inv trackio` shows this training" in ran.err and "trackers" not in ran.err
    assert json.loads((run / "run.json").read_text())["trackers"] == ["trackio"]
    assert not (run / "tb").exists()
