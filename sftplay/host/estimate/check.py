"""The task `check`: will it fit, and how long. Looks at config, data, model, run and machine, and
reports all problems at once.

Nothing is written and nothing is started. `forecast` calculates; this module gathers what it needs
and judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sftplay import console
from sftplay.cli import make_job
from sftplay.errors import (
    ConfigError,
    DataError,
    MachineError,
    NotFoundError,
    OutOfMemoryError,
    PermissionDeniedError,
    RefusedError,
    SftplayError,
    StorageError,
    UsageError,
)
from sftplay.files import human_size
from sftplay.freshness import warn_if_behind
from sftplay.host.estimate import forecast
from sftplay.host.estimate.forecast import Estimate
from sftplay.host.estimate.inputs import EstimateInputs, free_memory, gather, or_problem
from sftplay.host.select import choose
from sftplay.host.system import machine, nvidia
from sftplay.host.ui.format import show_duration
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.tuning_method import choose_method

LONG_HOURS = 24.0  # an estimate above this asks before training on a CPU (design section 2)
# What has to be fixed first decides the exit code: config, data, model, rights, run, machine,
# disk, memory.
_ORDER: tuple[type[SftplayError], ...] = (
    UsageError,
    ConfigError,
    DataError,
    NotFoundError,
    PermissionDeniedError,
    RefusedError,
    MachineError,
    StorageError,
    OutOfMemoryError,
)


def check(
    config: str | None = None,
    overrides: Sequence[str] = (),
    *,
    run: str | None = None,
    resume: bool = False,
) -> int:
    """Report on everything that training will need.

    Returns:
        0, or the exit code of the problem that has to be fixed first.
    """
    problems: list[SftplayError] = []
    job = or_problem(lambda: make_job(config, run, overrides, {}), problems)
    settings = job.settings if job else Settings()
    facts = machine.read_machine()
    cards = _cards(facts, settings, problems)
    if job:
        device = or_problem(lambda: choose.choose_device(settings, facts).value, []) or "cuda"
        console.info(
            f"config {job.config_file}: backend {settings.backend}, "
            f"{choose_method(settings, device)}, run {job.run_name}"
        )
        or_problem(lambda: None if resume else Run(job.run_name).refuse_second_start(), problems)
    else:
        console.warning("the config can't be read: what follows is for the defaults")
    plan = gather(settings, facts, cards, problems)
    if plan.rows and plan.rows.exact:
        or_problem(lambda: warn_if_behind(settings), problems)
    for line in _report(plan, facts, cards):
        console.info(line)
    problems += _judge(plan, facts, cards)
    for problem in problems:
        console.failure(problem)
    if not problems:
        console.success(
            "ready to train" + (f": inv train --config {job.config_file}" if job else "")
        )
        return 0
    worst = min(
        problems,
        key=lambda p: next(
            (i for i, kind in enumerate(_ORDER) if isinstance(p, kind)), len(_ORDER)
        ),
    )
    return worst.code


def _cards(
    facts: machine.Machine, settings: Settings, problems: list[SftplayError]
) -> list[nvidia.Gpu]:
    """The GPUs that answer, where the host has any and the CPU was not asked for."""
    if not facts.has_gpu or settings.train.device == "cpu":
        return []
    return or_problem(nvidia.query_gpus, problems) or []


def _report(
    plan: EstimateInputs, facts: machine.Machine, cards: Sequence[nvidia.Gpu]
) -> Iterator[str]:
    """Yield what was found and what it will take, a line each."""
    train = plan.settings.train
    if plan.device:
        where = (
            cards[0].name
            if cards and plan.device.kind == "cuda"
            else f"the CPU, {plan.device.cores} cores"
        )
        if plan.ranks > 1:
            where += f"; {plan.ranks} ranks" + (", weights sharded" if plan.sharded else "")
        yield f"device   {where}"
    if plan.shape:
        size = f"{plan.shape.weights / 1e6:,.0f} million weights"
        if plan.shape.experts and train.method == "qlora":
            size += f", {plan.shape.quantized:.0%} of those in layers quantized (experts are not)"
        yield f"model    {plan.settings.model.name}: {size}{'' if plan.shape.exact else ', by its name; not in the cache yet'}"
    else:
        unknown = (
            "can't be used, see below"
            if plan.unusable
            else "size unknown until it is fetched (inv fetch)"
        )
        yield f"model    {plan.settings.model.name}: {unknown}; no memory, disk or time without it"
    if plan.rows:
        about = "" if plan.rows.exact else "about "
        yield (
            f"rows     {about}{plan.rows.count:,} to train on, {about}{plan.rows.tokens:.0f} tokens each"
            f" ({plan.rows.trained:.0f} trained), from {plan.rows.source}"
        )
        count = forecast.steps(train, plan.rows.count)
        batch = train.rows_per_step
        yield f"steps    {count:,} of {console.count_of(batch)}; {about}{count * batch * plan.rows.trained:,.0f} trained tokens"
    else:
        yield "rows     not known until the data is here; no steps, memory, disk or time without them"
    for name, amount, have in _needs(plan, facts, cards):
        yield f"{name:8} {show_amount(amount, human_size)}; {human_size(have)} free"
    yield from _gpus(plan, cards)
    time = plan.duration()
    if time:
        source = "measured in an earlier run here" if plan.measured else "calculated"
        yield f"time     {show_amount(time, show_duration)}; {source}"


def _gpus(plan: EstimateInputs, cards: Sequence[nvidia.Gpu]) -> Iterator[str]:
    """Say how many GPUs like the first one this training needs, whole and sharded."""
    if not cards or not (plan.device and plan.device.kind == "cuda" and plan.shape and plan.rows):
        return
    facts = (plan.settings, plan.shape, plan.rows, plan.device, cards[0].free)
    needed = {
        shard: forecast.gpus_needed(*facts, sharded=shard == "full") for shard in ("none", "full")
    }
    if plan.settings.train.method == "qlora" or plan.settings.backend == "unsloth":
        del needed["full"]
    said = [
        f"{'no number is enough' if count is None else count} with train.shard {shard}"
        for shard, count in needed.items()
    ]
    yield f"GPUs     {', '.join(said)}"


def _needs(
    plan: EstimateInputs, facts: machine.Machine, cards: Sequence[nvidia.Gpu]
) -> Iterator[tuple[str, Estimate, int]]:
    """(what, how much, how much is there) for memory and disk."""
    if plan.device and plan.shape and plan.rows:
        free = cards[0].free if cards and plan.device.kind == "cuda" else free_memory(facts)
        if cards or plan.device.kind == "cpu":
            each = forecast.memory(
                *(plan.settings, plan.shape, plan.rows, plan.device, plan.ranks),
                sharded=plan.sharded,
            )
            if plan.device.kind == "cpu":  # the ranks share one memory
                each = forecast.Estimate(each.likely * plan.ranks, each.factor)
            yield "memory", each, free
        yield "disk", forecast.disk(plan.settings, plan.shape, plan.rows), facts.free_disk


def _judge(
    plan: EstimateInputs, facts: machine.Machine, cards: Sequence[nvidia.Gpu]
) -> Iterator[SftplayError]:
    """Yield what is not enough. A need that only its upper end exceeds is a warning, printed
    here.
    """
    if plan.shape and plan.settings.train.method == "qlora" and plan.shape.quantized < 0.5:
        yield ConfigError(
            f"train.method qlora would quantize {plan.shape.quantized:.0%} of this model's weights "
            "in layers: bitsandbytes leaves its experts as they are",
            where="train.method",
            todo="--set train.method=lora takes hardly more memory here, or choose another model",
        )
    for name, amount, have in _needs(plan, facts, cards):
        if amount.likely <= have < amount.high:
            console.warning(
                f"{name} may become short: {show_amount(amount, human_size)} of {human_size(have)}"
            )
        if amount.likely > have:
            said = f"too little {name}: {show_amount(amount, human_size)} wanted, {human_size(have)} free"
            if name == "disk":
                yield StorageError(
                    said, todo="inv clean, a smaller train.save_total_limit, or another disk"
                )
            else:
                kind = OutOfMemoryError if cards else MachineError
                yield kind(
                    said,
                    todo="halve train.batch_size and double train.gradient_accumulation_steps, or use method: qlora"
                    + ("; see GPUs above for train.shard=full" if cards else ""),
                )
    time = plan.duration()
    if time and time.likely > LONG_HOURS * 3600:
        console.warning(
            f"this will take {show_amount(time, show_duration)}: think of --set train.max_steps=…, or of a GPU"
        )


def show_amount(amount: Estimate, show: Callable[[float], str]) -> str:
    """An estimate with its range: 'about 2 min (1 min to 4 min)'."""
    return f"about {show(amount.likely)} ({show(amount.low)} to {show(amount.high)})"
