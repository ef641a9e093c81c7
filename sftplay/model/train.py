"""Stage `train`. Reads top to bottom: data, decisions, model, stamp, trainer, loop, result."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftplay import console
from sftplay.attempts import Attempt, checkpoints_in
from sftplay.base_model import input_limits, require_base_model
from sftplay.collector import loaded
from sftplay.config import dump_config
from sftplay.data.pipeline import ensure_current
from sftplay.data.rendering.template import TEMPLATE_FILE
from sftplay.data.show import excerpt
from sftplay.data.tokenizing.artifact import batches_of, read_split
from sftplay.decision import Decision
from sftplay.errors import (
    DataError,
    InterruptedSavedError,
    MachineError,
    NotFoundError,
    RefusedError,
)
from sftplay.files import write_bytes, write_json, write_text
from sftplay.freshness import read_stamp
from sftplay.locks import hold
from sftplay.model.backends import load_backend
from sftplay.model.runtime.device import decide_device, likely_device, use_one_gpu
from sftplay.model.runtime.precision import decide_precision
from sftplay.model.training.changed_rows import refuse_changed_rows
from sftplay.model.training.ending import explain, finish, is_finished
from sftplay.model.training.guard import check_attention, choose_checkpoint
from sftplay.model.training.plan import Plan
from sftplay.model.unsloth.handing_over import (
    BackendUnusableError,
    Progress,
    accepted,
    handing_over,
)
from sftplay.model.unsloth.probe import probe
from sftplay.places import SPLITS, data_folder, find_model
from sftplay.runs import Run
from sftplay.stages import Job
from sftplay.stamp import Stamp, write_stamp
from sftplay.tuning_method import choose_method

if TYPE_CHECKING:
    from sftplay.model.training.assemble import Assembly


def run(job: Job) -> None:
    """Train one run, from the start or from its newest checkpoint.

    Raises:
        RefusedError: begun already, or the stamp forbids the resume (76). BusyError: another
            trainer (75).
        InterruptedSavedError: stopped by a signal, checkpoint written (85). NonFiniteError (80),
            OutOfMemoryError (81).
    """
    use_one_gpu()
    target = Run(job.run_name)
    resume = bool(job.options.get("resume"))
    with hold(target.run_lock, who="a trainer"):
        handed = accepted(job, target)
        if handed and not any(
            one.has_begun for one in target.attempts() if one.number > handed[0].number
        ):
            resume = False  # what takes over begins at step 0
        else:
            _refuse_what_makes_no_sense(target, resume=resume)
        attempt = _attempt(job, target, handed[0] if handed else None, resume=resume)
        method = choose_method(job.settings, likely_device(job.settings)).value
        console.info(f"training run {target.name}: {method} of {job.settings.model.name}")
        require_base_model(job.settings)  # before any work on the data
        if resume:
            refuse_changed_rows(job, target)
        made = ensure_current(job, refuse=bool(job.options.get("no_auto")))
        with handing_over(job, target, attempt) as progress:
            progress.step = _steps_done(attempt) if resume else 0
            plan = _plan(made, target, attempt, data_folder("tokenized", made.settings))
            plan = replace(plan, fallback=handed[1] if handed else None)
            _train(plan, progress, resume=resume)


def _refuse_what_makes_no_sense(target: Run, *, resume: bool) -> None:
    """A second start, a resume of nothing, a resume of what can't be known any more."""
    if not resume:
        target.refuse_second_start()
    elif not target.has_begun():
        raise NotFoundError(
            f"there is no run {target.name} to resume",
            where=str(target.folder),
            todo="start it: the same command without --resume",
        )
    elif not any(attempt.has_begun for attempt in target.attempts()):
        raise RefusedError(
            "the stamp of the attempt that trained is gone",
            where=str(target.folder / "attempts"),
            todo=f"restore it; or start a new run: the same command with --run {target.free_name()}",
        )


def _plan(job: Job, target: Run, attempt: Attempt, tokenized: Path) -> Plan:
    stamp = read_stamp(tokenized)
    if stamp is None or not stamp.facts["rows"]["train"]:
        raise DataError(
            "the train split is empty",
            where=str(tokenized),
            todo="look at data/processed/report.json",
        )
    facts = stamp.facts
    limits = input_limits(find_model(job.settings))
    limits.check(_largest_id(tokenized, facts), facts["max_tokens"], str(tokenized))
    device = decide_device(job.settings)
    init = job.options.get("init_adapter")
    return Plan(
        job=job,
        run=target,
        attempt=attempt,
        tokenized=tokenized,
        facts=stamp.facts,
        device=device,
        precision=decide_precision(job.settings, device.value),
        init_adapter=Path(init) if init else None,
    )


def _largest_id(tokenized: Path, facts: Mapping[str, Any]) -> int:
    """The largest token id of the rows; stamps of older versions don't hold it."""
    if "max_id" in facts:
        return int(facts["max_id"])
    tables = [read_split(tokenized / f"{split}.arrow") for split in SPLITS]
    return max(
        (int(batch.tokens.max(initial=0)) for table in tables for batch in batches_of(table)),
        default=0,
    )


def _attempt(job: Job, target: Run, source: Attempt | None, *, resume: bool) -> Attempt:
    """The attempt to work in: the newest that began on resume, the launcher's number, else the next
    one.
    """
    attempts = target.attempts()
    begun = [attempt for attempt in attempts if attempt.has_begun]
    if resume and begun:
        return begun[-1]
    backend = "bnb" if source else job.settings.backend
    if (
        backend == "unsloth"
        and not find_spec("unsloth")
        and os.environ.get("SFTPLAY_STACK") != "unsloth"
    ):
        raise MachineError("Unsloth is not in this environment", todo=_instead_of_unsloth())
    number = job.options.get("attempt") or (attempts[-1].number + 1 if attempts else 1)
    return target.attempt(number, backend)


def _instead_of_unsloth() -> str:
    """Return the commands that start Unsloth's stack, or train without it."""
    compose = os.environ.get("SFTPLAY_GOES_ON")  # set by compose.yaml
    if compose:
        return (
            "on a machine with an NVIDIA GPU, build its image: docker compose -f compose.setup.yaml build unsloth\n"
            f"or train with BitsAndBytes: {compose}"
        )
    return (
        "start its stack: inv train-unsloth; or train with BitsAndBytes: inv train-bnb, or "
        "--set backend=bnb"
    )


def _steps_done(attempt: Attempt) -> int:
    """Count the steps that a hand-over of a resumed attempt would lose."""
    steps = checkpoints_in(attempt.checkpoints)
    return steps[-1][0] if steps else 0


def _train(plan: Plan, progress: Progress, *, resume: bool) -> None:
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
    model = _load(plan, progress)

    from sftplay.model.numerics.start import Proof
    from sftplay.model.training import record
    from sftplay.model.training.assemble import assemble, check_first_batch
    from sftplay.model.training.memory_probe import attention_of, fit_batches

    plan = replace(plan, lean=_slim(plan, model))
    plan = replace(plan, attention=attention_of(plan, model))
    plan = fit_batches(plan, model)
    stamp = plan.stamp()
    if resume:
        check_attention(plan)
    else:
        _write_start(plan)
    assembly = assemble(plan, model)
    step = _step_of(plan, checkpoint)
    done = (
        checkpoint is not None and step >= assembly.trainer.planned_steps
    )  # the library would train one step more
    if checkpoint is not None and is_finished(plan, assembly, checkpoint, step):
        return
    first_batch = check_first_batch(assembly.trainer)
    proof = Proof(plan, stamp, assembly)
    if not done:
        proof.before_training()
    if not resume:
        _begin(plan, stamp, assembly)
    opening = {**record.opening(plan, stamp, assembly, first_batch), "numerics": proof.found}
    write_json(run.record, opening)
    if not resume:
        write_json(run.data_record, record.data_record(plan, assembly.trainer.lengths))
    run.record_event(
        "resumed" if resume else "started",
        attempt=attempt.name,
        checkpoint=checkpoint.name if checkpoint else None,
    )
    _announce(plan, opening["effective"], resume=resume)

    progress.phase = "train"
    if done:
        assert checkpoint is not None
        console.info(f"every step was done when it was stopped: publishing {checkpoint.name}")
        assembly.restore_state(checkpoint)
    else:
        _loop(plan, assembly, checkpoint, progress)
    finish(plan, assembly, {**opening, "numerics": proof.found}, began)


def _announce(plan: Plan, effective: Mapping[str, Any], *, resume: bool) -> None:
    """Say what is about to be trained, with the first row, as the model sees it."""
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
    if not resume:
        row = excerpt(plan.tokenized, find_model(plan.settings))
        console.info(f"the first row as the model sees it, what is trained in [[ ]]:\n{row}")


def _load(plan: Plan, progress: Progress) -> Any:
    """Load the base, quantized where the method says so, and make trainable what is to be trained."""
    progress.phase = "load"
    settings = plan.settings
    backend = load_backend(
        plan.attempt.backend
    )  # before transformers: Unsloth has to be imported first

    from sftplay.model.backends.targets import check_quantized, say_adapted
    from sftplay.model.runtime.quiet import quiet_libraries

    quiet_libraries()
    from transformers import set_seed

    from sftplay.model.weights.attention_choice import implementation_of
    from sftplay.model.weights.base_name import name_base
    from sftplay.model.weights.generation_config import make_savable

    console.info(
        f"loading {settings.model.name}{' in 4 bit (NF4)' if settings.train.method == 'qlora' else ''}"
    )
    model = backend.load(settings, find_model(settings), plan.device.value, plan.precision.value)
    if settings.train.method == "qlora":
        check_quantized(model)
    if plan.attempt.backend != "unsloth":  # which has kernels of its own
        console.info(f"attention {implementation_of(model, settings)}")
    make_savable(model)
    set_seed(settings.train.seed)  # the adapter's start depends on it
    model = backend.prepare(model, settings, plan.init_adapter)
    if settings.train.method != "full":
        say_adapted(model)
    name_base(model, settings)
    return model


def _slim(plan: Plan, model: Any) -> Decision[list[str]]:
    """Let parts of the model compute in fewer passes, and say which."""
    if plan.attempt.backend == "unsloth":
        return Decision([], "Unsloth has kernels of its own")
    from sftplay.model.lean import slim

    done = slim(model, plan.precision.value)
    if done.value:
        console.info(f"in fewer passes: {', '.join(done.value)} ({done.reason})")
    return done


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
    header = f"# python3 tasks.py train --config {plan.run.config} --resume\n"
    write_text(plan.run.config, header + dump_config(plan.job.settings))


def _loop(plan: Plan, assembly: Assembly, checkpoint: Path | None, progress: Progress) -> None:
    """The library's loop; failures and stops end up in the run's history.

    Raises:
        InterruptedSavedError: a signal asked for the end, and the checkpoint is written (85).
    """
    run, attempt, trainer = plan.run, plan.attempt, assembly.trainer
    assembly.interrupt.install()
    loaded()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except BaseException as error:
        progress.step = max(progress.step, trainer.state.global_step)
        run.record_event(
            "failed",
            attempt=attempt.name,
            step=trainer.state.global_step,
            error=type(error).__name__,
        )
        explained = explain(error, checkpoint)
        if explained is error:
            raise  # as it came: its traceback says whose failure it is
        raise explained from error
    finally:
        assembly.telemetry.close()
    step = trainer.state.global_step
    if assembly.interrupt.signum and step < trainer.state.max_steps:
        run.record_event(
            "interrupted", attempt=attempt.name, step=step, signal=assembly.interrupt.signum
        )
        raise InterruptedSavedError(
            f"stopped by a signal; the checkpoint of step {step} is written",
            where=str(attempt.checkpoints),
            todo=f"continue: inv train --run {run.name} --resume",
        )
