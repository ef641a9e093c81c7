"""The loop: exact accumulation, and values that are not finite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.box import Box
from tests.model.run_files import read_events


def test_accumulation_weighs_tokens_and_not_batches(project: Path, box: Box) -> None:
    """4 × 1 gives the loss and gradient norm of 2 × 2 and 1 × 4, on rows of different lengths."""
    logged = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        run = f"split-{batch}"
        ran = box.run(
            "train", "--config", "demo.yaml", "--run", run, "--set", "train.max_steps=1", "--set", "lora.dropout=0",
            "--set", f"train.batch_size={batch}", "--set", f"train.gradient_accumulation_steps={accumulation}", cwd=project,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        state = (
            project
            / "outputs"
            / run
            / "attempts/01-bnb/checkpoints/checkpoint-1/trainer_state.json"
        )
        logged.append(json.loads(state.read_text())["log_history"][0])
    for other in logged[1:]:
        assert other["loss"] == pytest.approx(logged[0]["loss"], rel=1e-4)
        assert other["grad_norm"] == pytest.approx(logged[0]["grad_norm"], rel=1e-3)
        assert other["mean_token_accuracy"] == logged[0]["mean_token_accuracy"]


def test_accuracy_and_gradient_norm_are_in_tensorboard_and_steps(project: Path, box: Box) -> None:
    """A model that has learned its rows by heart predicts most of their tokens."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ran = box.run("train", "--config", "demo.yaml", "--set", "train.max_steps=40", "--set", "train.logging_steps=10", cwd=project)  # fmt: skip
    assert ran.code == 0, ran.err
    run = project / "outputs/demo"
    events = EventAccumulator(str(run / "tb/01-bnb")).Reload()
    curve = [point.value for point in events.Scalars("train/mean_token_accuracy")]
    assert 0 <= curve[0] < curve[-1] <= 1 and len(curve) >= 4
    assert all(point.value > 0 for point in events.Scalars("train/grad_norm"))
    lines = (run / "attempts/01-bnb/steps.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines if "mean_token_accuracy" in line]
    assert [point["mean_token_accuracy"] for point in kept] == pytest.approx(curve, rel=1e-5)
    assert json.loads((run / "attempts/01-bnb/progress.json").read_text())["acc"] >= 0


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    project: Path, box: Box
) -> None:
    ran = box.run(
        "train",
        "--config",
        "demo.yaml",
        "--set",
        "train.learning_rate=1e30",
        "--set",
        "train.max_grad_norm=0",
        "--set",
        "train.save_steps=1",
        cwd=project,
    )
    assert ran.code == 80, ran.err
    assert "step" in ran.err and "learning_rate" in ran.err
    assert read_events(project)[-1]["event"] == "failed"


def test_weights_that_are_not_finite_are_not_saved(project: Path, box: Box) -> None:
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", "train.learning_rate=1e39", "--set", "train.lr_scheduler=constant",
        "--set", "train.warmup_steps=0", "--set", "train.save_steps=1", cwd=project,
    )  # fmt: skip
    assert ran.code == 80 and "weights are not finite" in ran.err, ran.err
    assert not list(project.rglob("checkpoint-*"))


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(project: Path, box: Box) -> None:
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", "train.save_steps=1", cwd=project,
        BOX_BREAK="tests.faults:gradient_overflows_in_step_three",
    )  # fmt: skip
    assert ran.code == 80 and "gradient" in ran.err and "step 3" in ran.err, ran.err
    kept = [
        path.name
        for path in (project / "outputs/demo/attempts/01-bnb/checkpoints").glob("checkpoint-*")
    ]
    assert "checkpoint-2" in kept and "checkpoint-3" not in kept


@pytest.mark.parametrize("switch", ["lora.dora=true", "lora.rslora=true"])
def test_lora_switches_reach_the_adapter(project: Path, box: Box, switch: str) -> None:
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", "train.max_steps=2", "--set", switch, cwd=project
    )
    assert ran.code == 0, ran.err
    config = json.loads((project / "outputs/demo/adapter/adapter_config.json").read_text())
    assert config[{"lora.dora=true": "use_dora", "lora.rslora=true": "use_rslora"}[switch]] is True
