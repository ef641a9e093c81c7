"""Batches: what they decide to do, and (long) a whole one that is killed and continues."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.host.conftest import RunTask


@pytest.mark.long  # a dozen stages, each with its imports: minutes on a slow machine
@pytest.mark.usefixtures("environment")
def test_a_grid_is_killed_and_goes_on(checkout: Path, run_task: RunTask, tiny_model: Path) -> None:
    (checkout / "data/raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(40)]
    (checkout / "data/raw/sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    common = f"model.name: {tiny_model}, train.method: lora, eval.max_new_tokens: 4, data.val_share: 0.2, data.test_share: 0"
    (checkout / "configs/batch.yaml").write_text(
        f"""sort_by: loss
datasets:
  sums: {{raw: data/raw}}
  brief: {{raw: data/raw, style: Be brief.}}
experiments:
  - {{name: quick, dataset: [sums, brief], set: {{{common}, train.max_steps: 2}}}}
  - {{name: slow, dataset: sums, set: {{{common}, train.max_steps: 400, train.save_steps: 5}}}}
  - {{name: wrong, dataset: sums, set: {{{common}, train.max_steps: 2, train.learning_rate: 1e30}}}}
"""
    )
    with open(checkout / "screen", "wb") as screen:
        first = subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", "batch"],
            cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
        )  # fmt: skip
    progress, deadline = (
        checkout / "outputs/slow/attempts/01-bnb/progress.json",
        time.monotonic() + 400,
    )
    while not progress.exists() and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=120) == 85, (checkout / "screen").read_text()
    assert "continues from there" in (checkout / "screen").read_text()
    before = {path: path.stat().st_mtime_ns for path in (checkout / "data").rglob("*.arrow")}
    assert len(before) == 6

    config = checkout / "configs/batch.yaml"
    plan = run_task("batch", "--dry-run").stdout
    assert (
        "quick-sums: skip (finished)" in plan
        and "slow: resume (interrupted" in plan
        and "wrong: train" in plan
    )
    assert "data brief: current" in plan
    done = run_task("batch", env={"OMP_NUM_THREADS": "2"}, timeout=1500)
    assert done.returncode == 80, done.stderr
    assert "2 of" not in done.stderr and "3 of 4 experiments are done, 1 failed" in done.stderr
    assert {
        path: path.stat().st_mtime_ns for path in (checkout / "data").rglob("*.arrow")
    } == before
    written = {
        row["experiment"]: row
        for row in csv.DictReader(
            (checkout / "outputs/batch-batch/summary.csv").read_text().splitlines()
        )
    }
    assert written["slow"]["state"] == "finished" and float(written["slow"]["loss_tuned"]) > 0
    assert written["wrong"]["outcome"] == "train ended with 80"

    config.write_text(
        "\n".join(line for line in config.read_text().splitlines() if "wrong" not in line)
    )
    again = run_task("batch")
    assert again.returncode == 0, again.stderr
    assert run_task("report", "--batch", "configs/batch.yaml").returncode == 0
