"""The resume guard: compare stamps field by field, print every difference, choose the checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

from sftplay import console
from sftplay.errors import RefusedError
from sftplay.model.plan import Plan
from sftplay.runs import newest_whole_checkpoint
from sftplay.stamp import compare, read_stamp


def choose_checkpoint(plan: Plan) -> Path | None:
    """The newest whole checkpoint of the attempt that counts; None to start it from the beginning.

    Raises:
        RefusedError: it would be another training: what differs is printed (76).
    """
    run, attempt = plan.run, plan.attempt
    stamped = read_stamp(run.stamp if run.stamp.exists() else attempt.stamp)
    now = plan.stamp().model_copy(update={"attention": stamped.attention})  # known once the model is loaded
    if plan.init_adapter is None:  # asked for at the first start only; the checkpoints hold what became of it
        now = now.model_copy(update={"init_adapter": stamped.init_adapter})
    strict = bool(plan.job.options.get("strict"))
    refused = []
    for difference in compare(stamped, now):
        if difference.verdict == "refuse" or strict:
            console.error(str(difference))
            refused.append(difference.field)
        else:
            console.warning(str(difference))
    if refused:
        raise RefusedError(
            f"not the same training any more: {', '.join(refused)}",
            where=str(run.stamp),
            todo=f"resume with the settings it began with: inv train --run {run.name} --resume\n"
            f"or start a new run: --run {run.free_name()}",
        )
    return _newest_whole(plan)


def check_attention(plan: Plan) -> None:
    """The same for the one field that only the loaded model can tell.

    Raises:
        RefusedError: another attention kernel ran, and `--strict` was given (76).
    """
    stamped = read_stamp(plan.run.stamp if plan.run.stamp.exists() else plan.attempt.stamp)
    if stamped.attention == plan.attention:
        return
    shown = f"attention: {stamped.attention} → {plan.attention}"
    if plan.job.options.get("strict"):
        raise RefusedError(
            f"not the same attention kernel any more: {shown}", where=str(plan.run.stamp), todo="leave --strict out"
        )
    console.warning(f"warn    {shown}")


def _newest_whole(plan: Plan) -> Path | None:
    checkpoint, damaged = newest_whole_checkpoint(plan.attempt.checkpoints)
    for path, problem in damaged:
        console.warning(f"{path.name} is not whole ({problem}): passed over")
        shutil.rmtree(path, ignore_errors=True)
    if checkpoint is None:
        console.warning("no whole checkpoint: training starts from the beginning")
    else:
        console.info(f"resuming from {checkpoint.name}")
    return checkpoint
