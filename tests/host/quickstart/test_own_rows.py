"""A newcomer's own rows: short, alike, quickly learned. Every step of the way ends with 0, and the
evaluation measures what the training reached.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.host.conftest import RunTask


@pytest.mark.acceptance
@pytest.mark.usefixtures("environment")
def test_a_few_plain_rows_are_trained_and_measured_as_trained(
    checkout: Path, run_task: RunTask
) -> None:
    rows = [{"question": f"What is {n} times 3?", "answer": f"It is {n * 3}."} for n in range(60)]
    (checkout / "data/raw").mkdir(parents=True)
    (checkout / "data/raw/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = ["train.max_steps=6", "train.method=lora", "model.max_length=256", "data.val_share=0.3"]
    words = [word for one in sets for word in ("--set", one)]
    trained = run_task("train", "--run", "own", *words, "--runner", "local")
    assert trained.returncode == 0, trained.stderr
    measured = run_task(
        "eval", "--run", "own", "--runner", "local", "--set", "eval.max_new_tokens=4"
    )
    assert measured.returncode == 0, measured.stderr
    seen = json.loads((checkout / "outputs/own/run.json").read_text())["val_loss"]
    loss = json.loads((checkout / "outputs/own/eval/val/metrics.json").read_text())["metrics"][
        "loss"
    ]
    gain = loss["base"] - seen
    assert gain > 0.05
    assert loss["tuned"] == pytest.approx(seen, abs=0.1 * gain)
