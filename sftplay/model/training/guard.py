"""The resume guard: compare stamps field by field, print every difference, choose the checkpoint."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from sftplay import console
from sftplay.attempts import Attempt, newest_whole_checkpoint
from sftplay.data.rendering.template import TEMPLATE_FILE
from sftplay.errors import RefusedError
from sftplay.model.training.changed_rows import find_changed_rows
from sftplay.model.training.plan import Plan
from sftplay.places import data_folder
from sftplay.runs import Run
from sftplay.stamp import NEVER_REPAIRED, VERDICTS, Stamp, compare, read_stamp, write_stamp


def choose_checkpoint(plan: Plan) -> Path | None:
    """The newest whole checkpoint of the attempt that counts; None to start it from the beginning.

    Raises:
        RefusedError: it would be another training: what differs is printed (76).
    """
    run, attempt = plan.run, plan.attempt
    stamped = stamp_of(run, attempt)
    now = plan.stamp().model_copy(
        update={"attention": stamped.attention}
    )  # known once the model is loaded
    if (
        plan.init_adapter is None
    ):  # asked for at the first start only; the checkpoints hold what became of it
        now = now.model_copy(update={"init_adapter": stamped.init_adapter})
    stamped = stamped.model_copy(update={"world_size": _ranks_of(attempt, stamped, now)})
    strict = bool(plan.job.options.get("strict"))
    reshard = bool(plan.job.options.get("reshard"))
    refused = []
    for difference in compare(stamped, now):
        if difference.field == "world_size" and reshard and not strict:
            console.warning(
                f"{difference}: the order of rows stays, random states of the ranks do not; "
                "no longer byte-identical"
            )
        elif difference.verdict == "refuse" or strict:
            console.error(str(difference))
            refused.append(difference.field)
        else:
            console.warning(str(difference))
    if refused:
        raise RefusedError(
            f"not the same training any more: {', '.join(refused)}",
            where=str(run.stamp),
            todo=_restore_advice(refused, plan, strict=strict)
            + f"\nor start a new run: --run {run.free_name()}",
        )
    _check_template(plan)
    return _newest_whole(plan)


def _ranks_of(attempt: Attempt, stamped: Stamp, now: Stamp) -> int:
    """Ranks that trained last: a run that was resharded goes on with them.

    The checkpoints tell it; without one the stamp does.
    """
    if stamped.world_size == now.world_size and not attempt.ranks.is_dir():
        return stamped.world_size
    from sftplay.model.training.checkpoints import missing_part, world_of

    newest = newest_whole_checkpoint(attempt.checkpoints, missing_part)[0]
    return world_of(newest) if newest else stamped.world_size


def _restore_advice(refused: Sequence[str], plan: Plan, *, strict: bool) -> str:
    """Explain how to return to the original training."""
    if strict and all(VERDICTS[field.partition(".")[0]] == "warn" for field in refused):
        return "leave --strict out: it continues then, with a warning"
    if "data_hash" in refused or "template_hash" in refused:
        if other := find_changed_rows(plan.run, plan.settings):
            return f"{other}\n{other.todo}"
        return "put the raw files, and the settings of the data stages, back as they were; then the same command"
    if refused == ["world_size"]:
        return (
            "resume with as many ranks as before (train.processes, --nodes), or with --reshard: "
            "then it is not byte-identical"
        )
    if "weights_hash" in refused and "base_model" not in refused:
        return "put the base model's files back as they were; then the same command"
    return f"resume with the settings it began with: inv train --run {plan.run.name} --resume"


def _check_template(plan: Plan) -> None:
    """The run's frozen chat template is that of the rows, whose hash has just been compared.

    Raises:
        RefusedError: it was changed, or is gone (76).
    """
    rendered = data_folder("rendered", plan.settings) / TEMPLATE_FILE
    try:
        same = plan.run.template.read_bytes() == rendered.read_bytes()
    except OSError:
        same = False
    if not same:
        raise RefusedError(
            "the run's chat template was changed, or is gone",
            where=str(plan.run.template),
            todo=f"put it back: cp {shlex.quote(str(rendered))} {shlex.quote(str(plan.run.template))}",
        )


def stamp_of(run: Run, attempt: Attempt) -> Stamp:
    """The stamp that the attempt began with. The run's copy says the same, or was not yet written
    when it was killed.

    Raises:
        RefusedError: one of the two was changed (76).
    """
    stamped = read_stamp(attempt.stamp)
    if stamped.backend != attempt.backend:
        raise RefusedError(
            f"the stamp is of another backend ({stamped.backend})",
            where=str(attempt.stamp),
            todo=NEVER_REPAIRED,
        )
    copy = read_stamp(run.stamp) if os.path.lexists(run.stamp) else None
    if copy == stamped:
        return stamped
    before = [
        read_stamp(one.stamp)
        for one in run.attempts()
        if one.has_begun and one.number < attempt.number
    ]
    if copy is not None and copy not in before:
        raise RefusedError(
            f"the stamp is not that of {attempt.name}", where=str(run.stamp), todo=NEVER_REPAIRED
        )
    console.info(f"{attempt.name} was killed while it wrote its stamp for the run: written now")
    write_stamp(run.stamp, stamped)
    return stamped


def check_attention(plan: Plan) -> None:
    """The same for the one field that only the loaded model can tell.

    Raises:
        RefusedError: another attention kernel ran, and `--strict` was given (76).
    """
    stamped = read_stamp(plan.attempt.stamp)
    if stamped.attention == plan.attention:
        return
    shown = f"attention: {stamped.attention} → {plan.attention}"
    if plan.job.options.get("strict"):
        raise RefusedError(
            f"not the same attention kernel any more: {shown}",
            where=str(plan.run.stamp),
            todo="leave --strict out",
        )
    console.warning(f"warn    {shown}")


def _newest_whole(plan: Plan) -> Path | None:
    from sftplay.model.training.checkpoints import missing_part

    checkpoint, damaged = newest_whole_checkpoint(plan.attempt.checkpoints, missing_part)
    for path, problem in damaged:
        console.warning(
            f"{path.name} is not whole ({problem}): passed over, and set aside as damaged-{path.name}"
        )
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    if checkpoint is None:
        console.warning("no whole checkpoint: training starts from the beginning")
    else:
        console.info(f"resuming from {checkpoint.name}")
    return checkpoint
