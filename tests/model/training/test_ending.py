"""The end of a training: the best checkpoint is published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.box import Box


def _weights(folder: Path, run: str = "demo") -> str:
    (path,) = [
        p
        for name in ("adapter", "model")
        for p in (folder / "outputs" / run / name).glob("*.safetensors")
    ]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _events(folder: Path, run: str = "demo") -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (folder / "outputs" / run / "events.jsonl").read_text().splitlines()
    ]


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
