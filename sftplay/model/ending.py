"""The end of a training: the best checkpoint is published, run.json and the history tell what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from sftplay import console
from sftplay.errors import OutOfMemoryError, RefusedError, SftplayError
from sftplay.files import human_size, read_json, write_json
from sftplay.model.plan import Plan
from sftplay.runs import Run, checkpoints_in

if TYPE_CHECKING:
    from sftplay.model.assemble import Assembly


def finish(plan: Plan, assembly: Assembly, opening: dict[str, Any], began: float) -> None:
    """Adapter, run.json and history of a training that has come to its end."""
    from sftplay.model import record

    published = _publish(plan, assembly)
    result = {**opening, **record.closing(assembly, published, time.monotonic() - began)}
    write_json(plan.run.record, result)
    plan.run.record_event("finished", attempt=plan.attempt.name, step=result["steps"], val_loss=result["val_loss"])
    _say_result(result)


def _publish(plan: Plan, assembly: Assembly) -> str:
    """The best checkpoint, else the last one, becomes the run's adapter/ (or model/). Returns its name."""
    from sftplay.model.checkpoints import publish

    steps = dict(checkpoints_in(plan.attempt.checkpoints))
    best = assembly.trainer.state.best_global_step
    chosen = steps[best] if best in steps else steps[max(steps)]
    target = plan.run.model if plan.settings.train.method == "full" else plan.run.adapter
    publish(chosen, target, assembly.trainer.processing_class, {"run": plan.run.name, "checkpoint": chosen.name})
    size = human_size(sum(path.stat().st_size for path in target.iterdir()))
    console.success(f"{target} ({size}), from {chosen.name}{', the best val loss' if best in steps else ''}")
    return chosen.name


def _say_result(result: dict[str, Any]) -> None:
    loss = f", loss {result['first_loss']:.3f} → {result['last_loss']:.3f}" if result["first_loss"] is not None else ""
    val = f", val loss {result['val_loss']:.3f}" if result["val_loss"] is not None else ""
    early = " (stopped early: the val loss no longer fell)" if result["stopped_early"] else ""
    console.success(
        f"trained {result['steps']} steps{early} in {result['train_seconds']:.0f} s, {result['tokens_per_second']:.0f} tokens/s{loss}{val}"
    )


def state_of(run: Run) -> str:
    """`finished`, or whatever run.json says; empty where it says nothing any more, and is written anew."""
    try:
        return str(read_json(run.record)["state"])
    except (SftplayError, KeyError, TypeError):
        return ""


def explain(error: BaseException, checkpoint: Path | None) -> BaseException:
    """What a person can do about a failure of the loop; the error itself where nothing is known about it."""
    import torch

    if isinstance(error, UnpicklingError) and checkpoint is not None:
        return RefusedError(
            "this checkpoint holds something else than numbers: it is not loaded",
            where=str(checkpoint),
            todo="if you don't know where it comes from, remove it: --resume goes on from the one before",
        )
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return OutOfMemoryError(
            "out of GPU memory",
            todo="halve train.batch_size and double train.gradient_accumulation_steps: the effective batch stays\n"
            "or --set train.gradient_checkpointing=true, or a smaller model.max_length",
        )
    return error
