"""The end of a training: the best checkpoint is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.box import Box
from tests.host.standin import wait_until


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


def take_over(project: Path) -> None:
    """Another launcher has taken the run: it wrote the next start's record."""
    launch = project / "outputs/demo/launch"
    launch.mkdir(parents=True, exist_ok=True)
    (launch / "start-002.json").write_text('{"nonce": "another"}')


def lose_lock(project: Path) -> None:
    """The path of the lock leads to another file than the one that the training holds."""
    lock = project / "outputs/demo/.run.lock"
    lock.unlink()
    lock.touch()


@pytest.mark.parametrize(("happens", "code"), [(take_over, 75), (lose_lock, 74)])
@pytest.mark.parametrize("save_steps", [5, 100_000])
def test_a_training_that_lost_its_run_publishes_nothing(
    project: Path, box: Box, happens: Callable[[Path], None], code: int, save_steps: int
) -> None:
    started = box.start(
        *("train", "--config", "demo.yaml", "--set", "train.max_steps=60"),
        *("--set", f"train.save_steps={save_steps}"),
        cwd=project,
        SFTPLAY_NONCE="mine",
    )
    attempt = project / "outputs/demo/attempts/01-bnb"
    wait_until((attempt / "progress.json").exists, "training")
    happens(project)
    before = {path.name for path in attempt.glob("checkpoints/checkpoint-*")}
    ran = started.wait()
    assert ran.code == code, ran.err
    after = {path.name for path in attempt.glob("checkpoints/checkpoint-*")}
    assert len(after - before) <= 1  # one was being written
    assert not (project / "outputs/demo/adapter").exists()
    assert "finished" not in (project / "outputs/demo/events.jsonl").read_text()
