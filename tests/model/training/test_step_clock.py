"""The speed of a training is that of its steps."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from sftplay.model.training.step_clock import StepClock
from tests.box import Box


def test_the_clock_of_steps_stands_still_in_a_pause() -> None:
    clock = StepClock()
    before, began = clock.now(), time.monotonic()
    with clock.paused():
        time.sleep(0.2)
    with pytest.raises(ValueError, match="x"), clock.paused():
        raise ValueError("x")
    assert clock.now() - before < time.monotonic() - began - 0.19


def test_speed_is_that_of_the_steps_whatever_is_done_between_them(project: Path, box: Box) -> None:
    """Answers of 128 tokens after each step take longer than the steps of so small a model."""
    values = ("train.max_steps=4", "train.eval_steps=1", "eval.show=2", "eval.max_new_tokens=128")
    sets = [word for value in values for word in ("--set", value)]
    ran = box.run("train", "--config", "demo.yaml", *sets, cwd=project)
    assert ran.code == 0, ran.err
    run = project / "outputs/demo"
    record = json.loads((run / "run.json").read_text())
    assert record["step_seconds"] < 0.75 * record["train_seconds"]
    points = map(json.loads, (run / "attempts/01-bnb/steps.jsonl").read_text().splitlines())
    speeds = [point["tokens_per_second"] for point in points]
    with_all = record["tokens"] / record["train_seconds"]
    assert record["tokens_per_second"] > 1.3 * with_all
    assert speeds[-1] > 1.3 * with_all
