"""Looks at the val loss before and after a resume compete, whichever start asked for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import TrainerState

from sftplay.manifest import seal
from sftplay.model.training.resuming import go_by
from sftplay.settings import TrainSettings


def _taken_up(folder: Path, kept: list[int], eval_steps: int | None, **state: Any) -> Any:
    """A trainer that has loaded a checkpoint, and goes by these settings."""
    for step in kept:
        (folder / f"checkpoint-{step}").mkdir()
        seal(folder / f"checkpoint-{step}", {"step": step})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    args = SimpleNamespace(
        output_dir=str(folder), logging_steps=1, eval_steps=eval_steps, save_steps=2,
        metric_for_best_model=None, greater_is_better=None,
    )  # fmt: skip
    looks = [{"step": 2, "eval_loss": 3.0}, {"step": 4, "eval_loss": 2.0}, {"step": 4, "loss": 1.0}]
    trainer = SimpleNamespace(
        args=args,
        state=TrainerState(log_history=looks, max_steps=8, **state),
        lr_scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    )
    go_by(TrainSettings(eval_steps=eval_steps), trainer)
    return trainer


def test_looks_of_a_start_that_kept_no_best_one_compete(tmp_path: Path) -> None:
    trainer = _taken_up(tmp_path, [2, 4], 2)
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (2.0, 4)
    assert trainer.args.metric_for_best_model == "loss" and not trainer.args.greater_is_better


def test_a_look_whose_checkpoint_is_gone_does_not(tmp_path: Path) -> None:
    assert _taken_up(tmp_path, [2], 2).state.best_global_step == 2


def test_without_any_wish_for_the_best_the_last_one_stays(tmp_path: Path) -> None:
    trainer = _taken_up(tmp_path, [2, 4], None)
    assert trainer.state.best_metric is None and trainer.args.metric_for_best_model is None


def test_a_best_one_of_before_stays_to_be_beaten(tmp_path: Path) -> None:
    trainer = _taken_up(tmp_path, [2, 4], None, best_metric=1.5, best_global_step=2)
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (1.5, 2)
    assert trainer.args.metric_for_best_model == "loss"
