"""Stage `train`. Reads top to bottom: data, decisions, model, stamp, trainer, loop, result.

One module although it is long: the order of these steps is what it is about.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftplay import console
from sftplay.attempts import Attempt, checkpoints_in
from sftplay.base_model import require_base_model
from sftplay.collector import loaded
from sftplay.data.pipeline import ensure_current
from sftplay.data.rendering.template import TEMPLATE_FILE
from sftplay.data.show import excerpt
from sftplay.errors import InterruptedSavedError
from sftplay.files import write_bytes, write_json
from sftplay.locks import hold
from sftplay.model.ranks.choose import (
    Placement,
    choose_world,
    placement_of,
    refuse_other_launcher,
    use_gpu,
    visible_gpus,
)
from sftplay.model.runtime.device import likely_device
from sftplay.model.training.attempt_choice import choose_attempt, refuse_impossible_start
from sftplay.model.training.changed_rows import refuse_changed_rows
from sftplay.model.training.ending import explain, finish, is_finished
from sftplay.model.training.guard import check_attention, choose_checkpoint
from sftplay.model.training.plan import Plan, make_plan
from sftplay.model.training.run_config import update_config, write_config
from sftplay.model.training.several import (
    connect,
    join_ranks,
    lead,
    plan_of_rank,
    refuse_while_ranks_save,
)
from sftplay.model.training.trainable_model import load_trainable, slim_model
from sftplay.model.unsloth.handing_over import (
    BackendUnusableError,
    Progress,
    accepted,
    handing_over,
)
from sftplay.model.unsloth.probe import probe
from sftplay.places import data_folder, find_model
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.stamp import Stamp, write_stamp
from sftplay.tuning_method import choose_method

if TYPE_CHECKING:
    from sftplay.model.ranks.meeting import Meeting
    from sftplay.model.training.assemble import Assembly


def run(job: Job) -> None:
    """Train one run, from the start or from its newest checkpoint.

    Raises:
        RefusedError: begun already, or the stamp forbids the resume (76). BusyError: another
            trainer (75).
        InterruptedSavedError: stopped by a signal, checkpoint written (85). NonFiniteError (80),
            OutOfMemoryError (81).
    """
    if job.options.get("plan"):
        _run_rank(job, Path(job.options["plan"]))
        return
    refuse_other_launcher()
    placement = placement_of(job.options)
    device = likely_device(job.settings)
    method = choose_method(job.settings, device).value
    world = choose_world(job.settings, device, method, gpus=len(visible_gpus()), at=placement)
    if placement.node:
        join_ranks(world.value, len(visible_gpus()), device, placement)
        return
    if world.value.size == 1 and (said := use_gpu(0, 1)):
        console.info(said)
    target = Run(job.run_name)
    resume = bool(job.options.get("resume"))
    with hold(target.run_lock, who="a trainer"):
        meeting = _meeting(placement) if world.value.size > 1 else None
        refuse_while_ranks_save(target)
        handed = accepted(job, target)
        if handed and not any(
            one.has_begun for one in target.attempts() if one.number > handed[0].number
        ):
            resume = False  # what takes over begins at step 0
        else:
            refuse_impossible_start(target, resume=resume)
        attempt = choose_attempt(job, target, handed[0] if handed else None, resume=resume)
        console.info(f"training run {target.name}: {method} of {job.settings.model.name}")
        require_base_model(job.settings)  # before any work on the data
        if resume:
            refuse_changed_rows(job, target)
        made = ensure_current(job, refuse=bool(job.options.get("no_auto")))
        with handing_over(job, target, attempt) as progress:
            progress.step = _steps_done(attempt) if resume else 0
            plan = make_plan(made, target, attempt, data_folder("tokenized", made.settings))
            plan = replace(plan, fallback=handed[1] if handed else None, world=world.value)
            _start(plan, progress, world.reason, meeting, resume=resume)


def _steps_done(attempt: Attempt) -> int:
    """Count the steps that a hand-over of a resumed attempt would lose."""
    steps = checkpoints_in(attempt.checkpoints)
    return steps[-1][0] if steps else 0


def _start(
    plan: Plan, progress: Progress, why: str, meeting: Meeting | None, *, resume: bool
) -> None:
    """Prepare the run's folder, then train here, or in ranks."""
    began = time.monotonic()
    settings, run, attempt = plan.settings, plan.run, plan.attempt
    checkpoint = choose_checkpoint(plan) if resume else None
    os.environ[console.LOG_VARIABLE] = str(attempt.log)
    console.info(
        f"run {run.name}, attempt {attempt.name}: {settings.train.method} of {settings.model.name}"
    )
    method = choose_method(plan.job.settings, plan.device.value)
    console.info(f"device {plan.device}; method {method}; precision {plan.precision}")
    progress.device = plan.device.reason if plan.device.value == "cuda" else "cpu"
    if attempt.backend == "unsloth":
        _probe(plan)
    if meeting is None:
        _train(plan, progress, checkpoint, began, resume=resume)
        return
    console.info(f"{plan.world}: {why}")
    if not resume:
        _write_start(plan)
    lead(plan, checkpoint, meeting, plan.job.options.get("interface"))


def _meeting(placement: Placement) -> Meeting:
    """Return where the ranks will meet; machine 0 of several listens before its work on the data."""
    from sftplay.model.ranks.meeting import meeting_of

    return meeting_of(placement.rendezvous, placement.interface, placement.nodes)


def _run_rank(job: Job, path: Path) -> None:
    """Train as one of several ranks, by the plan of the front that started this process."""
    target = Run(job.run_name)
    from sftplay.model.ranks.collectives import local_rank
    from sftplay.model.ranks.leaving import recorded

    with recorded(path, target.ranks_lock) as state:
        use_gpu(local_rank(), state.plan.processes)
        attempt = target.attempt_of(state.plan.attempt)
        if state.rank == 0:
            os.environ[console.LOG_VARIABLE] = str(attempt.log)
        plan = plan_of_rank(job, target, attempt, state)
        resume = attempt.has_begun and bool(job.options.get("resume"))
        checkpoint = attempt.checkpoints / state.plan.resume if state.plan.resume else None
        with handing_over(job, target, attempt, in_rank=True) as progress:
            progress.step = _steps_done(attempt) if resume else 0
            progress.device = plan.device.reason if plan.device.value == "cuda" else "cpu"
            state.step = lambda: progress.step
            _train(plan, progress, checkpoint, time.monotonic(), resume=resume)


def _train(
    plan: Plan, progress: Progress, checkpoint: Path | None, began: float, *, resume: bool
) -> None:
    """Train in this process: alone, or as one rank of several, of which rank 0 writes the run."""
    first = plan.rank == 0
    progress.phase = "load"
    model = load_trainable(plan)

    from sftplay.model.numerics.start import Proof
    from sftplay.model.ranks.collectives import leave, said_by_first
    from sftplay.model.training import record
    from sftplay.model.training.assemble import assemble, check_first_batch
    from sftplay.model.training.memory_probe import attention_of, fit_batches

    connect(plan, model)
    plan = replace(plan, lean=slim_model(plan, model))
    plan = replace(plan, attention=attention_of(plan, model))
    plan = fit_batches(plan, model)
    stamp = plan.stamp()
    if resume:
        check_attention(plan)
    elif plan.world.size == 1:
        _write_start(plan)
    assembly = assemble(plan, model)
    step = _step_of(plan, checkpoint)
    done = (
        checkpoint is not None and step >= assembly.trainer.planned_steps
    )  # the library would train one step more
    finished = checkpoint is not None and first and is_finished(plan, assembly, checkpoint, step)
    if said_by_first(finished):
        return
    first_batch = check_first_batch(assembly.trainer)
    proof = Proof(plan, stamp, assembly)
    if not done:
        proof.before_training()
    opening: dict[str, Any] = {}
    if first:
        if not resume:
            _begin(plan, stamp, assembly)
        opening = {**record.opening(plan, stamp, assembly, first_batch), "numerics": proof.found}
        _write_opening(plan, assembly, opening, checkpoint, resume=resume)

    progress.phase = "train"
    if done:
        assert checkpoint is not None
        console.info(f"every step was done when it was stopped: publishing {checkpoint.name}")
        assembly.restore_state(checkpoint)
    else:
        _loop(plan, assembly, checkpoint, progress)
    if first:
        finish(plan, assembly, {**opening, "numerics": proof.found}, began)
    leave()


def _write_opening(
    plan: Plan,
    assembly: Assembly,
    opening: dict[str, Any],
    checkpoint: Path | None,
    *,
    resume: bool,
) -> None:
    """Write run.json, data.json and the first event, and say what is trained."""
    from sftplay.model.training import record

    run = plan.run
    write_json(run.record, opening)
    plan.attempt.progress.unlink(missing_ok=True)  # that of the start before this one
    changed = update_config(plan.run, plan.job.settings) if resume else []
    if not resume:
        write_json(run.data_record, record.data_record(plan, assembly.trainer.lengths))
    run.record_event(
        "resumed" if resume else "started",
        attempt=plan.attempt.name,
        checkpoint=checkpoint.name if checkpoint else None,
        **({"changed": changed} if changed else {}),
        **({"ranks": plan.world.size} if plan.world.size > 1 else {}),
    )
    _announce(plan, opening, resume=resume)


def _announce(plan: Plan, opening: Mapping[str, Any], *, resume: bool) -> None:
    """Say what is about to be trained, with the first row, as the model sees it."""
    effective = opening["effective"]
    if 1 <= plan.settings.train.warmup_steps >= effective["steps"]:
        console.warning(
            f"train.warmup_steps is {plan.settings.train.warmup_steps:g}, and the training has "
            f"{console.count_of(effective['steps'], 'step')}: the learning rate is still rising "
            "when it ends"
        )
    console.info(
        f"{console.count_of(plan.facts['rows']['train'])}, {plan.facts['trained_tokens']['train']:,} trained tokens; "
        f"{console.count_of(effective['steps'], 'step')} of {console.count_of(effective['effective_batch'])}; {effective['trainable_parameters']:,} trainable weights"
    )
    if "trackio" in plan.settings.train.trackers:
        console.info("trackio: `inv trackio` shows this training, now or later")
    elif "trackio" in opening["trackers"]:
        console.info(
            "trackio: train.trackers does not name it now, but an earlier start did:"
            " `inv trackio` still shows this run"
        )
    if not resume:
        row = excerpt(plan.tokenized, find_model(plan.settings))
        console.info(f"the first row as the model sees it, what is trained in [[ ]]:\n{row}")


def _step_of(plan: Plan, checkpoint: Path | None) -> int:
    return next(
        (step for step, path in checkpoints_in(plan.attempt.checkpoints) if path == checkpoint), 0
    )


def _probe(plan: Plan) -> None:
    """Unsloth in a process of its own, before anything is loaded.

    Raises:
        BackendUnusableError: it does not work here.
    """
    verdict = probe(plan.precision.value, log=plan.attempt.folder / "probe.log")
    if verdict.reason is not None:
        raise BackendUnusableError(verdict)


def _begin(plan: Plan, stamp: Stamp, assembly: Assembly) -> None:
    """Write the stamps of a training that has proved that it can learn and be saved."""
    from sftplay.model.training.checkpoints import rehearse_save

    rehearse_save(assembly.trainer.model, plan.attempt.checkpoints)
    for path in (plan.attempt.stamp, plan.run.stamp):
        write_stamp(path, stamp)


def _write_start(plan: Plan) -> None:
    """Write config and template. The stamps follow when the start has proved that it can learn."""
    rendered = data_folder("rendered", plan.settings)
    write_bytes(plan.run.template, (rendered / TEMPLATE_FILE).read_bytes())
    write_config(plan.run, plan.job.settings)


def _loop(plan: Plan, assembly: Assembly, checkpoint: Path | None, progress: Progress) -> None:
    """The library's loop; failures and stops end up in the run's history.

    Raises:
        InterruptedSavedError: a signal asked for the end, and the checkpoint is written (85).
    """
    from sftplay.model.ranks.collectives import wait_for_all

    trainer = assembly.trainer
    assembly.interrupt.install()
    loaded()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except BaseException as error:
        progress.step = max(progress.step, trainer.state.global_step)
        _event(plan, "failed", step=trainer.state.global_step, error=type(error).__name__)
        explained = explain(error, checkpoint)
        if explained is error:
            raise  # as it came: its traceback says whose failure it is
        raise explained from error
    finally:
        assembly.telemetry.close()
    step = trainer.state.global_step
    progress.step = max(progress.step, step)
    if assembly.interrupt.agreed and step < trainer.state.max_steps:
        _event(plan, "interrupted", step=step, signal=assembly.interrupt.signum)
        wait_for_all()  # the agent ends the other ranks when the first one leaves
        raise InterruptedSavedError(
            f"stopped by a signal; the checkpoint of step {step} is written",
            where=str(plan.attempt.checkpoints),
            todo=f"continue: inv train --run {plan.run.name} --resume",
        )


def _event(plan: Plan, kind: str, **facts: Any) -> None:
    """Add a line to the run's history; rank 0 writes it for all."""
    if plan.rank == 0:
        plan.run.record_event(kind, attempt=plan.attempt.name, **facts)
