"""The end of a training: the best checkpoint is published, run.json and the history tell what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sftplay import console
from sftplay.files import human_size, write_json
from sftplay.model.plan import Plan
from sftplay.runs import checkpoints_in

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
