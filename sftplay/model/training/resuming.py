"""Settings that a resumed training takes from its new start and not from its checkpoint.

The library goes on with the logging, saving and evaluation of the checkpoint's start, and with the
learning rate that its last step left for the next one. Where this start has other settings, both
are another training's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sftplay.attempts import checkpoints_in
from sftplay.settings import TrainSettings


def go_by(train: TrainSettings, trainer: Any) -> None:
    """Let a trainer that has loaded a checkpoint go by these settings.

    Raises nothing: with the checkpoint's own settings it changes nothing.
    """
    trainer.state.compute_steps(trainer.args, trainer.state.max_steps)
    _set_learning_rates(trainer.lr_scheduler)
    _compare_with_best(train, trainer)


def _set_learning_rates(schedule: Any) -> None:
    """Set the rates of the next step. Of a training that was over they were those of its end, 0
    mostly, and the first further step would be lost.
    """
    schedule = getattr(schedule, "scheduler", schedule)  # accelerate's is around the library's
    rates = [
        base * rate(schedule.last_epoch)
        for base, rate in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    ]
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    schedule._last_lr = rates


def _compare_with_best(train: TrainSettings, trainer: Any) -> None:
    """Let further looks at the val loss compete with those before, whichever start asked for them.

    A training without any `eval_steps` keeps its last step, as ever.
    """
    state = trainer.state
    if train.eval_steps is None and state.best_metric is None:
        return
    trainer.args.metric_for_best_model, trainer.args.greater_is_better = "loss", False
    if state.best_metric is None:
        there = {step for step, _ in checkpoints_in(Path(trainer.args.output_dir))}
        looks = [
            (float(point["eval_loss"]), int(point["step"]))
            for point in state.log_history
            if "eval_loss" in point and point["step"] in there
        ]
        if looks:
            state.best_metric, state.best_global_step = min(looks)
