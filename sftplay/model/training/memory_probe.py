"""Before step 1: which attention kernel runs, and how many rows a pass can hold, tried on the
longest rows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset

from sftplay import console
from sftplay.decision import Decision
from sftplay.errors import OutOfMemoryError
from sftplay.files import human_size
from sftplay.model.forward.attention import kernel_of
from sftplay.model.forward.collate import IGNORED, collate_for, on_device
from sftplay.model.forward.head import has_plain_head
from sftplay.model.forward.loss import target_loss
from sftplay.model.forward.packing import keep_rows_apart
from sftplay.model.ranks.collectives import least
from sftplay.model.runtime.precision import autocast
from sftplay.model.training.noise import noisy_embeddings
from sftplay.model.training.plan import BatchSize, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHARE = 0.85  # of the free memory that `auto` counts on; allocators need some air
PROBE_TOKENS = 64  # of a row that shows which kernel runs, or whether rows stay apart
CPU_PROBE_TOKENS = 16  # the CPU's kernels do not go by length, and its time does


def attention_of(plan: Plan, model: Any) -> str:
    """The kernel that ran, on the beginning of two rows, in the run's precision and with its
    padding.

    Raises:
        ConfigError: the rows are to lie end to end, and this model would mix them (78).
    """
    packed = plan.settings.train.packing
    tokens = PROBE_TOKENS if packed or plan.device.value == "cuda" else CPU_PROBE_TOKENS
    rows = [
        _beginning(row, tokens - 8 * number)
        for number, row in enumerate(_first(_rows(plan, "train"), 2))
    ]
    with _as_in_training(plan, model):
        if packed:
            keep_rows_apart(model, [rows[0], rows[-1]])
        batch = _batch(plan, rows, model)
        with noisy_embeddings(model, batch, plan.settings.train.neftune_noise_alpha):
            name = kernel_of(model, batch)
    return f"{name}, packed" if packed else name


def _beginning(row: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """The first tokens of a row, the last of them trained."""
    ids = row["input_ids"][:tokens]
    return {"input_ids": ids, "labels": [IGNORED] * (len(ids) - 1) + ids[-1:]}


def fit_batches(plan: Plan, model: Any) -> Plan:
    """The plan with rows that fit. On a GPU they are rehearsed: forward and backward of the longest
    rows, and an evaluation's pass.

    Raises:
        OutOfMemoryError: not even one row fits (81).
    """
    train, evaluation = plan.settings.train, plan.settings.eval.loss_rows
    asked = train.batch_size
    whole = plan.rows_per_step
    if plan.device.value != "cuda":
        rows = divisor(asked if isinstance(asked, int) else train.guessed_rows, whole)
        reason = "asked for" if isinstance(asked, int) else "auto, and the CPU's memory holds it"
        return replace(plan, batch=Decision(BatchSize(rows, whole // rows, evaluation), reason))
    if plan.world.sharding == "full":  # a whole model on one GPU says nothing about shards
        rows = divisor(train.guessed_rows, whole)
        sizes = BatchSize(rows, whole // rows, evaluation)
        return replace(plan, batch=Decision(sizes, "not rehearsed: the weights are sharded later"))
    longest = _longest(plan, "train")
    if isinstance(asked, int):
        start, why = divisor(asked, whole), "asked for"
    else:
        start, why = _by_free_memory(plan, model, longest)
    rows = fitting(
        start,
        whole,
        lambda count: _fits(lambda: _step(plan, model, [longest] * count)),
    )
    if rows < start:
        why = f"{start} ran out of GPU memory on the longest row ({len(longest['input_ids']):,} tokens); the effective batch stays"
        console.warning(f"batch size {rows} × {whole // rows} instead of {start}: {why}")
    held_out = _longest(plan, "val")
    eval_rows = evaluation
    if held_out is not None:
        eval_rows = fitting(
            evaluation,
            evaluation,
            lambda count: _fits(lambda: _look(plan, model, [held_out] * count)),
        )
    # all ranks the same: the one with the least memory decides
    rows, eval_rows = least([rows, eval_rows])
    return replace(plan, batch=Decision(BatchSize(rows, whole // rows, eval_rows), why))


def divisor(rows: int, whole: int) -> int:
    """The largest number up to `rows` that divides `whole`."""
    return next(count for count in range(min(rows, whole), 0, -1) if whole % count == 0)


def fitting(start: int, effective: int, fits: Callable[[int], bool]) -> int:
    """The largest number of rows, from `start` downwards by halves, that divides `effective` and
    fits. Pure but for `fits`.

    Raises:
        OutOfMemoryError: one row does not fit (81).
    """
    rows = start
    while not fits(rows):
        if rows == 1:
            raise OutOfMemoryError(
                "out of GPU memory with a single row",
                todo="--set train.method=qlora, or a smaller model.max_length with data.on_too_long, or a smaller model",
            )
        rows = halved(rows, effective)
    return rows


def halved(rows: int, effective: int) -> int:
    """At most half of `rows`, so that whole passes make up `effective` rows still: 4 of 4 → 2, 6 of
    6 → 3, 5 of 5 → 1.
    """
    return divisor(max(rows // 2, 1), effective)


def rows_in(free: int, one_row: int, effective: int) -> int:
    """Rows of `one_row` bytes that `free` bytes hold, at least 1, as a divisor of `effective`."""
    return divisor(max(int(free * SHARE) // max(one_row, 1), 1), effective)


def _by_free_memory(plan: Plan, model: Any, longest: dict[str, Any]) -> tuple[int, str]:
    """Measure one row, and count how many of it the GPU's free memory holds."""
    effective = plan.rows_per_step
    base = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    if not _fits(lambda: _step(plan, model, [longest])):
        return 1, "auto: one row already fills the GPU"
    one_row = torch.cuda.max_memory_allocated() - base
    free, _ = torch.cuda.mem_get_info()
    rows = rows_in(free, one_row, effective)
    return rows, f"auto: {human_size(free)} free, {human_size(one_row)} for the longest row"


def _fits(work: Callable[[], None]) -> bool:
    """True if `work` runs without running out of GPU memory."""
    try:
        work()
        return True
    except torch.OutOfMemoryError:
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def _step(plan: Plan, model: Any, rows: list[dict[str, Any]]) -> None:
    """Forward and backward as a step does it, in addition to the memory that the optimizer will take."""
    trained = [p for p in model.parameters() if p.requires_grad]
    bytes_each = 2 if "8bit" in plan.settings.train.optimizer else 8
    with _as_in_training(plan, model):
        states = torch.empty(
            sum(p.numel() for p in trained) * bytes_each, dtype=torch.uint8, device=model.device
        )
        try:
            loss, count = target_loss(
                model, _batch(plan, rows, model), plain_head=has_plain_head(model)
            )
            (loss / count).backward()
        finally:
            del states
            for parameter in trained:
                parameter.grad = None


@torch.no_grad()
def _look(plan: Plan, model: Any, rows: list[dict[str, Any]]) -> None:
    with autocast(plan.device.value, plan.precision.value, model):
        was = model.training
        model.eval()
        try:
            target_loss(model, _batch(plan, rows, model), plain_head=has_plain_head(model))
        finally:
            model.train(was)


@contextmanager
def _as_in_training(plan: Plan, model: Any) -> Iterator[None]:
    """Training mode, autocast and checkpointing as the trainer sets them; random state and mode are
    put back.
    """
    was = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    if plan.checkpointing.value:
        # Unsloth's transformers has the old name only.
        enable = (
            getattr(model, "activation_checkpointing_enable", None)
            or model.gradient_checkpointing_enable
        )
        enable({"use_reentrant": False})
    model.train()
    try:
        with (
            torch.random.fork_rng(devices=devices),
            autocast(plan.device.value, plan.precision.value, model),
        ):
            yield
    finally:
        model.train(was)


def _batch(plan: Plan, rows: Sequence[Mapping[str, Any]], model: Any) -> dict[str, Any]:
    collate = collate_for(plan.settings, pad_id=0)
    return on_device(collate([dict(row) for row in rows]), model.device)


def _rows(plan: Plan, split: str) -> Any:
    return Dataset.from_file(str(plan.tokenized / f"{split}.arrow")).select_columns(
        ["input_ids", "labels"]
    )


def _first(rows: Any, count: int) -> list[dict[str, Any]]:
    return [rows[i] for i in range(min(count, len(rows)))]


def _longest(plan: Plan, split: str) -> Any:
    """The row with the most tokens; None in an empty split."""
    import pyarrow.compute as pc

    rows = _rows(plan, split)
    if not len(rows):
        return None
    lengths = pc.list_value_length(rows.data.column("input_ids")).to_pylist()
    return rows[max(range(len(lengths)), key=lengths.__getitem__)]
