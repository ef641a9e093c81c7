"""The end of a training: the best checkpoint is published."""

from __future__ import annotations

import json
from pathlib import Path

from tests.box import Box


def test_early_stopping_keeps_the_best(project: Path, box: Box) -> None:
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", "train.max_steps=60", "--set", "train.eval_steps=2", "--set", "train.early_stopping_patience=1",
        "--set", "train.learning_rate=0.5", cwd=project,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    record = json.loads((project / "outputs/demo/run.json").read_text())
    assert record["stopped_early"] and record["steps"] < 60
    state = json.loads(
        next(
            (project / "outputs/demo/attempts/01-bnb/checkpoints").glob(
                "checkpoint-*/trainer_state.json"
            )
        ).read_text()
    )
    best = min(
        (entry["eval_loss"], entry["step"])
        for entry in state["log_history"]
        if "eval_loss" in entry
    )
    assert (
        record["val_loss"] <= best[0]
        and record["published"] == f"checkpoint-{state['best_global_step'] or best[1]}"
    )
