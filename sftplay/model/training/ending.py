"""The end of a training: the best checkpoint is published, run.json and the history tell what came
of it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from sftplay import console
from sftplay.attempts import checkpoints_in
from sftplay.errors import OutOfMemoryError, RefusedError, SftplayError
from sftplay.files import human_size, write_json
from sftplay.manifest import problem_with
from sftplay.model.training.plan import Plan
from sftplay.runs import Run
from sftplay.untrusted import read_json

if TYPE_CHECKING:
    from sftplay.model.training.assemble import Assembly


def finish(plan: Plan, assembly: Assembly, opening: dict[str, Any], began: float) -> None:
    """Adapter, run.json and history of a training that has come to its end."""
    from sftplay.model.training import record
    from sftplay.model.training.several import require_newest_start

    require_newest_start(plan)
    published = _publish(plan, assembly, opening)
    require_newest_start(plan)  # copying took a while
    result = {**opening, **record.closing(assembly, published, time.monotonic() - began)}
    write_json(plan.run.record, result)
    plan.run.record_event(
        "finished", attempt=plan.attempt.name, step=result["steps"], val_loss=result["val_loss"]
    )
    _report_result(result)


def _publish(plan: Plan, assembly: Assembly, opening: Mapping[str, Any]) -> str:
    """Make the best checkpoint, else the last one, the run's adapter/ (or model/).

    Args:
        opening: run.json as it was written before the first step, or later.

    Returns:
        Its name.
    """
    from sftplay.model.training.checkpoints import publish
    from sftplay.model.weights.card import card

    steps = dict(checkpoints_in(plan.attempt.checkpoints))
    best = assembly.trainer.state.best_global_step
    chosen = steps[best] if best in steps else steps[max(steps)]
    target, adapter = _target(plan), plan.settings.train.method != "full"
    record = {**opening, "steps": assembly.trainer.state.global_step}
    stamp = read_json(plan.attempt.stamp)
    publish(
        chosen,
        target,
        assembly.trainer.processing_class,
        _generation_config(plan, assembly),
        card(record, stamp, plan.settings, adapter=adapter),
        {"run": plan.run.name, "checkpoint": chosen.name},
    )
    size = human_size(sum(path.stat().st_size for path in target.iterdir()))
    console.success(
        f"{target} ({size}), from {chosen.name}{', the best val loss' if best in steps else ''}"
    )
    return chosen.name


def _generation_config(plan: Plan, assembly: Assembly) -> Any:
    """The base's, which also ends at the end of turn that was trained; None where it has none."""
    from sftplay.model.weights.generation_config import end_ids, pad_id, stop_ids

    tokenizer, model = assembly.trainer.processing_class, assembly.trainer.model
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(base, "generation_config", None) is None:
        return None
    config = copy.deepcopy(base.generation_config)
    config.eos_token_id = end_ids(base, stop_ids(tokenizer, plan.facts.get("eot_id")))
    config.pad_token_id = pad_id(tokenizer)
    return config


def _target(plan: Plan) -> Path:
    return plan.run.model if plan.settings.train.method == "full" else plan.run.adapter


def is_finished(plan: Plan, assembly: Assembly, checkpoint: Path, step: int) -> bool:
    """True if a run that is resumed is finished, with whole weights. Damaged ones are published
    again.

    Args:
        checkpoint: the newest whole one, of `step`.
    """
    ended = _finished_at(plan.run)
    damage = problem_with(_target(plan)) if ended is not None else None
    if (
        damage and step == ended
    ):  # `ended` comes before the planned end where training stopped early
        console.warning(
            f"run {plan.run.name} is finished, but its weights are damaged ({damage}): publishing them again"
        )
        _publish_again(plan, assembly, checkpoint)
        return True
    if ended is None or damage or step < assembly.trainer.planned_steps:
        return False
    console.success(f"run {plan.run.name} is finished: {ended} steps; nothing is left to do")
    return True


def _publish_again(plan: Plan, assembly: Assembly, checkpoint: Path) -> None:
    """The weights of a finished run once more, from the checkpoint that they were made of.

    Args:
        checkpoint: the last one: it knows which was the best.

    Raises:
        RefusedError: the best checkpoint is damaged too (76).
    """
    assembly.restore_state(checkpoint)
    best = dict(checkpoints_in(plan.attempt.checkpoints)).get(
        assembly.trainer.state.best_global_step, checkpoint
    )
    problem = None if best == checkpoint else problem_with(best)
    if problem:
        raise RefusedError(
            f"the checkpoint with the best val loss is damaged too: {problem}",
            where=str(best),
            todo=f"restore one of the two, or train again: inv train --config {plan.run.config} --run {plan.run.free_name()}",
        )
    name = _publish(plan, assembly, read_json(plan.run.record))
    plan.run.record_event("published", attempt=plan.attempt.name, checkpoint=name)


def _report_result(result: dict[str, Any]) -> None:
    loss = (
        f", loss {result['first_loss']:.3f} → {result['last_loss']:.3f}"
        if result["first_loss"] is not None
        else ""
    )
    val = f", val loss {result['val_loss']:.3f}" if result["val_loss"] is not None else ""
    early = " (stopped early: the val loss no longer fell)" if result["stopped_early"] else ""
    other = round(result["train_seconds"] - result["step_seconds"])
    between = f" ({other} s of them evaluations and checkpoints)" if other else ""
    console.success(
        f"trained {console.count_of(result['steps'], 'step')}{early} in {result['train_seconds']:.0f} s{between}, {result['tokens_per_second']:.0f} tokens/s{loss}{val}"
    )


def _finished_at(run: Run) -> int | None:
    """The step that run.json says the run ended at; None where it is not finished, or run.json is
    to be written again.
    """
    try:
        record = read_json(run.record)
        return int(record["steps"]) if record["state"] == "finished" else None
    except (SftplayError, KeyError, TypeError, ValueError):
        return None


def explain(error: BaseException, checkpoint: Path | None) -> BaseException:
    """Return an error that tells what to do about a failure of the loop; the failure itself if
    nothing is known about it.
    """
    import torch

    if isinstance(error, UnpicklingError) and checkpoint is not None:
        return RefusedError(
            "this checkpoint holds something else than numbers: it is not loaded",
            where=str(checkpoint),
            todo="if you don't know where it comes from, remove it: --resume continues from the one before",
        )
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return OutOfMemoryError(
            "out of GPU memory",
            todo="halve train.batch_size and double train.gradient_accumulation_steps: the effective batch stays\n"
            "or --set train.gradient_checkpointing=true, or a smaller model.max_length",
        )
    return error
