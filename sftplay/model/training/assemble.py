"""Rows, trainer and callbacks of one training start, and the proof that the rows reach the model as
they were written.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import EarlyStoppingCallback, set_seed
from transformers.integrations.integration_utils import TensorBoardCallback

from sftplay import console
from sftplay.data.tokenizing.tokenizer import load_tokenizer
from sftplay.decision import Decision
from sftplay.errors import DataError, MachineError, RefusedError
from sftplay.model.forward.collate import IGNORED, Packer
from sftplay.model.lean import needs_autocast
from sftplay.model.training.interrupt import Interrupt
from sftplay.model.training.logging_window import LoggingWindow
from sftplay.model.training.order import FilledRows, epoch_order, filled
from sftplay.model.training.plan import Plan
from sftplay.model.training.sample_answers import TrainingSamples, read_samples
from sftplay.model.training.several import require_newest_start
from sftplay.model.training.telemetry import Telemetry, event_writer
from sftplay.model.training.trainer import Trainer, make_trainer
from sftplay.model.training.trainer_config import trainer_config
from sftplay.model.weights.generation_config import end_ids, pad_id, stop_ids
from sftplay.places import find_model
from sftplay.untrusted import read_text


@dataclass(frozen=True)
class Assembly:
    """The trainer with what watches it.

    Attributes:
        lean: which parts of the model compute in fewer passes (see `lean`), and why no others.
    """

    trainer: Trainer
    telemetry: Telemetry
    interrupt: Interrupt
    lean: Decision[list[str]]

    def restore_state(self, checkpoint: Path) -> None:
        """Take over the trainer's state and history of a checkpoint after which nothing is left to
        train.
        """
        from transformers import TrainerState

        self.trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.telemetry.load_history(self.trainer.state)


def assemble(plan: Plan, model: Any) -> Assembly:
    """Put the trainer together on the tokenized rows.

    Raises:
        DataError: val loss is asked for, and there are no val rows (65).
    """
    assert plan.batch is not None and plan.lean is not None  # known once the model is loaded
    settings = plan.settings
    rows, val = _rows(plan, "train"), _rows(plan, "val")
    val = val.select(range(min(len(val), settings.train.eval_samples or len(val))))
    if settings.train.eval_steps and not len(val):
        raise DataError(
            "train.eval_steps is set, but the val split is empty",
            where=str(plan.tokenized),
            todo="raise data.val_share, or leave eval_steps out",
        )
    tokenizer = load_tokenizer(find_model(settings), read_text(plan.run.template))
    interrupt = Interrupt()
    telemetry = Telemetry(
        plan.attempt.progress, plan.attempt.steps, interrupt, writes=plan.rank == 0
    )
    window = LoggingWindow()
    trainer = make_trainer(
        model,
        tokenizer,
        trainer_config(
            settings,
            plan.attempt.checkpoints,
            plan.device.value,
            plan.precision.value,
            plan.batch.value,
            checkpointing=plan.checkpointing.value,
            mixed=needs_autocast(model),
            world=plan.world,
        ),
        rows,
        val if len(val) else None,
        settings,
        pad_id(tokenizer),
        {"run": plan.run.name, "attempt": plan.attempt.name, "backend": plan.attempt.backend},
        _callbacks(plan, telemetry, window, tokenizer, model),
        lambda: require_newest_start(plan),
    )
    telemetry.trainer = window.trainer = trainer
    _require_as_asked(trainer, plan, needs_autocast(model))
    if plan.world.size > 1:
        set_seed(settings.train.seed + plan.rank)  # dropout: another stream on each rank
    return Assembly(trainer, telemetry, interrupt, plan.lean)


def _require_as_asked(trainer: Trainer, plan: Plan, mixed: bool) -> None:
    """Ask the trainer itself for what is stamped: libraries read settings of their own.

    Raises:
        MachineError: it would train in another precision, or among other processes (69).
    """
    running = trainer.accelerator
    precision = plan.precision.value
    kind = "NO"
    if plan.world.size > 1:
        kind = "MULTI_CPU" if plan.device.value == "cpu" else "MULTI_GPU"
        kind = "FSDP" if plan.world.sharding == "full" else kind
    asked = (precision if mixed and precision != "fp32" else "no", plan.world.size, kind)
    found = (running.mixed_precision, running.num_processes, running.distributed_type.value)
    if found != asked:
        raise MachineError(
            f"the trainer would run with (mixed precision, processes, distributed) = {found}, and the config asks for {asked}",
            todo="look for variables or files of accelerate: env | grep ACCELERATE, accelerate env",
        )


def _rows(plan: Plan, split: str) -> Any:
    """Memory-mapped rows: input_ids and labels."""
    return Dataset.from_file(str(plan.tokenized / f"{split}.arrow")).select_columns(
        ["input_ids", "labels"]
    )


def _callbacks(
    plan: Plan, telemetry: Telemetry, window: LoggingWindow, tokenizer: Any, model: Any
) -> list[Any]:
    callbacks: list[Any] = [window, telemetry]
    if plan.rank == 0:
        writer = None
        if "tensorboard" in plan.settings.train.trackers:
            writer = event_writer(plan.run.tensorboard(plan.attempt))
            callbacks.append(TensorBoardCallback(writer))
        if plan.settings.eval.show:
            callbacks += _samples(plan, tokenizer, model, writer)
    if plan.settings.train.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(plan.settings.train.early_stopping_patience))
    return callbacks


def _samples(plan: Plan, tokenizer: Any, model: Any, writer: Any) -> list[Any]:
    """Sample answers, or a line that says why there are none."""
    why = "Unsloth has an inference mode of its own" if plan.attempt.backend == "unsloth" else ""
    why = "several processes train" if plan.world.size > 1 else why
    if why:
        console.info(f"no sample answers (eval.show): {why}")
        return []
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    samples = TrainingSamples(
        read_samples(plan.tokenized / "val.arrow", plan.settings.eval.show),
        tokenizer,
        end_ids(base, stop_ids(tokenizer, plan.facts.get("eot_id"))),
        pad_id(tokenizer),
        plan.settings.eval.max_new_tokens,
        plan.attempt.samples,
        writer,
    )
    return [samples]


def check_first_batch(trainer: Trainer) -> dict[str, int]:
    """Assert that what reaches the model is what `tokenize` wrote: ids, labels, and padding by
    position.

    Returns:
        Rows, longest row and trained tokens of the first batch.

    Raises:
        RefusedError: a library changed them on the way (76).
    """
    size, rank = trainer.args.per_device_train_batch_size, trainer.args.process_index
    order = epoch_order(trainer.lengths, trainer.args.seed, 0, trainer.rows_per_step)
    known = trainer.train_dataset
    if trainer.args.world_size > 1:
        order, known = filled(order, trainer.rows_per_pass), FilledRows(known)
    order = order[rank * size : (rank + 1) * size]
    batch = next(iter(trainer.get_train_dataloader()))
    rows = [known[i] for i in order]
    lengths = [len(row["input_ids"]) for row in rows]
    packed = isinstance(trainer.data_collator, Packer)
    starts = [0, *accumulate(lengths)]
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        line, start = (0, starts[number]) if packed else (number, 0)
        ids, labels = (
            batch[key][line, start : start + length].tolist() for key in ("input_ids", "labels")
        )
        # Nothing stands before a row's first token: packed, it has to be said.
        wanted = [IGNORED, *row["labels"][1:]] if packed else list(row["labels"])
        if ids != list(row["input_ids"]) or labels != wanted:
            raise _changed()
    trained = int((batch["labels"][:, 1:] != IGNORED).sum())
    if trained != sum(label != IGNORED for row in rows for label in row["labels"][1:]) or int(
        batch["attention_mask"].sum()
    ) != sum(lengths):
        raise _changed()
    return {"rows": len(order), "longest": max(lengths), "trained_tokens": trained}


def _changed() -> RefusedError:
    return RefusedError(
        "the trainer changed the tokenized rows: its first batch differs from data/tokenized",
        todo="please report this with the versions in run.json",
    )
