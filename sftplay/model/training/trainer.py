"""TRL's SFTTrainer with our rows, our order, our loss, our save path; the loop itself stays the
library's.

One module although it is long: one class, whose methods replace those of the library.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import ExportableState, PrinterCallback
from trl import SFTConfig, SFTTrainer

from sftplay import console
from sftplay.errors import NonFiniteError
from sftplay.model.forward.collate import collate_for
from sftplay.model.forward.head import has_plain_head
from sftplay.model.forward.loss import loss_and_hits, summed_target_loss
from sftplay.model.ranks.collectives import (
    gathered,
    rank_count,
    summed,
    this_rank,
    wait_for_all,
)
from sftplay.model.ranks.shards import load_whole_optimizer, load_whole_weights, local_part
from sftplay.model.training import checkpoints, resuming
from sftplay.model.training.loraplus import loraplus_optimizer, rates_of
from sftplay.model.training.noise import noisy_embeddings
from sftplay.model.training.order import EpochSampler, FilledRows, real_tokens
from sftplay.model.training.step_clock import StepClock
from sftplay.settings import Settings

_CALMER = "lower train.learning_rate, or use --set train.precision=fp32; then start a new run, or --resume from the last checkpoint"


@dataclass
class StepShare:
    """Work of this rank since the last step: tokens seen and trained, seconds of forward passes."""

    seen: int = 0
    trained: int = 0
    seconds: float = 0.0


class Trainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer with sftplay's loss, data order, checkpoints and checks.

    Args:
        lengths: tokens of each training row, for batches of like length.
        eval_rows: rows for the val loss, None to go without.
        facts: what every checkpoint's manifest records (backend, run).
        before_save: called before a checkpoint is written; raises where it must not be.
    """

    def __init__(
        self,
        *,
        lengths: list[int],
        eval_rows: Any,
        facts: dict[str, Any],
        settings: Settings,
        before_save: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        model = kwargs["model"]
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        forward = base.__dict__.get("forward")
        # TRL rounds the adapters of a 4-bit base to bf16: those of --init-adapter would not be the
        # ones that were trained.
        trained = [
            (parameter, parameter.data)
            for parameter in model.parameters()
            if parameter.requires_grad
        ]
        super().__init__(eval_dataset=eval_rows, **kwargs)
        self._restore_forward(base, forward)
        self.remove_callback(PrinterCallback)
        self.settings, self.lengths, self.facts = settings, lengths, facts
        self.before_save = before_save
        self.trained_tokens = 0  # since the last logged point, of all ranks
        self.hits: Any = (
            0  # of them on this rank, predicted as the likeliest token; None: not known
        )
        self.tokens_seen = 0  # real tokens that went through the model, padding not counted
        self.step_clock = StepClock()
        self._own = StepShare()
        # our loss divides by the step's trained tokens, whatever the accumulation
        self.model_accepts_loss_kwargs = True
        for parameter, data in trained:
            parameter.data = data
        self.plain_head = has_plain_head(self.model)

    @property
    def rows_per_step(self) -> int:
        """Effective batch: the order is made of these, so that 4 × 1 and 1 × 4, and any number of
        ranks, see the same rows in each step.
        """
        return self.rows_per_pass * int(self.args.gradient_accumulation_steps)

    @property
    def rows_per_pass(self) -> int:
        """Rows of one forward pass of all ranks together."""
        return int(self.args.per_device_train_batch_size * self.args.world_size)

    @property
    def planned_steps(self) -> int:
        """Optimizer steps of the whole run: max_steps, else epochs over the rows."""
        if self.args.max_steps > 0:
            return int(self.args.max_steps)
        batches = math.ceil(len(self.lengths) / self.rows_per_pass)
        per_epoch = max(math.ceil(batches / self.args.gradient_accumulation_steps), 1)
        steps: int = math.ceil(self.args.num_train_epochs * per_epoch)
        return steps

    @staticmethod
    def _restore_forward(base: Any, forward: Any) -> None:
        """Take back TRL's fused output layer: our loss keeps trained positions only, on every
        device and architecture.
        """
        if forward is None:
            base.__dict__.pop("forward", None)
        else:
            base.forward = forward

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean over all trained tokens of the optimizer step: 4 × 1 rows weigh as 1 × 4 do.

        Gradients of several ranks are averaged, and so is the logged loss: each rank's part counts
        as many times as there are ranks.
        """
        began = time.perf_counter()
        with noisy_embeddings(model, inputs, self.settings.train.neftune_noise_alpha):
            total, count, hits = loss_and_hits(model, inputs, plain_head=self.plain_head)
        alone = self.args.world_size == 1
        self._own.seen += int(inputs["attention_mask"].sum()) if alone else real_tokens(inputs)
        self._own.trained += count
        if self.hits is not None:
            self.hits = self.hits + hits  # on its device: nobody waits for it
        loss = total / (count if num_items_in_batch is None else num_items_in_batch)
        if not alone:
            loss = loss * self.args.world_size
        if not torch.isfinite(loss):
            step = self.state.global_step + 1
            raise NonFiniteError(
                f"the loss became {loss.item()} at step {step}; the last checkpoint is from before it",
                todo=_CALMER,
            )
        self._own.seconds += time.perf_counter() - began
        return loss

    def share_step(self, signum: int) -> list[list[int]]:
        """Add up what all ranks did in a step, and learn which of them was asked to stop.

        Called once after each step, by every rank.

        Args:
            signum: the signal that this rank received; 0: none.

        Returns:
            Of each rank: its signal, and the microseconds of its forward passes.
        """
        own, self._own = self._own, StepShare()
        shares = gathered([signum, own.seen, own.trained, round(own.seconds * 1e6)])
        self.tokens_seen += sum(share[1] for share in shares)
        self.trained_tokens += sum(share[2] for share in shares)
        return [[share[0], share[3]] for share in shares]

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The library's, asked before each optimizer step: what is not finite never reaches the
        weights.

        In fp16 the scaler skips such a step by itself, and tries a smaller scale.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        if self.accelerator.scaler is None and not math.isfinite(float(norm)):
            raise NonFiniteError(
                f"the gradient became {float(norm)} at step {self.state.global_step + 1}; the last checkpoint is from before it",
                todo=_CALMER,
            )
        return norm

    def create_optimizer(self, model: Any = None) -> Any:
        """The library's, or that of LoRA+."""
        known: Any = getattr(self, "optimizer", None)
        alpha = self.settings.train.neftune_noise_alpha
        if known is None and alpha is not None and self.is_world_process_zero():
            console.info(
                f"NEFTune: noise of alpha {alpha:g} on the embeddings; the training loss includes it"
            )
        if known is not None or self.settings.train.loraplus_lr_ratio is None:
            return super().create_optimizer(model)
        trained = self.model if model is None else model
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
        made = loraplus_optimizer(trained, kind, options, self.settings.train)
        if self.is_world_process_zero():
            console.info(f"LoRA+: learning rate {rates_of(made)}")
        self.optimizer: Any = made
        return made

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        multiple = self.rows_per_pass if self.args.world_size > 1 else 1
        return EpochSampler(self.lengths, self.args.seed, self.rows_per_step, multiple)

    def _get_dataloader(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        if self.args.world_size > 1 and kwargs.get("is_training"):
            dataset = FilledRows(dataset)
        return super()._get_dataloader(dataset, *args, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Val loss per trained token (the Trainer's own average weighs short batches as much as
        long ones). Its time, and that of the callbacks that follow it, is not the steps'.
        """
        with self.step_clock.paused():
            return self._evaluate_val(metric_key_prefix)

    def _evaluate_val(self, prefix: str) -> dict[str, float]:
        """Return the val loss, logged and passed on to the callbacks (sample answers)."""
        total, tokens = summed(
            summed_target_loss(
                self.model,
                self.eval_dataset,
                self.data_collator,
                self.args.per_device_eval_batch_size,
                share=(this_rank(), rank_count()),
            )
        )
        loss = total / max(tokens, 1)
        if not math.isfinite(loss):
            raise NonFiniteError(
                f"the loss on the val split became {loss} after step {self.state.global_step}",
                todo="lower train.learning_rate, or use --set train.precision=fp32; then start a new run",
            )
        metrics = {f"{prefix}_loss": loss}
        self.log(dict(metrics))
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as transformers does. TRL's entropy and accuracy, which cost a pass over the vocabulary,
        are left out; the accuracy comes from the loss, under TRL's name.
        """
        self._metrics["train"].clear()
        self._metrics["eval"].clear()
        if "loss" in logs:
            if self.hits is not None:
                (hits,) = summed([float(self.hits)])
                accuracy = hits / max(self.trained_tokens, 1)
                logs = {**logs, "mean_token_accuracy": accuracy}
            logs = {**logs, "trained_tokens": self.trained_tokens}
            self.trained_tokens = self.hits = 0
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with self.step_clock.paused():
            self._save_checked()

    def _save_checked(self) -> None:
        """Write a checkpoint of finite weights, and remove the ones that are too many."""
        folder = Path(self.args.output_dir)
        if not all(
            bool(torch.isfinite(local_part(p)).all())
            for p in self.model.parameters()
            if p.requires_grad
        ):
            raise NonFiniteError(
                f"the weights are not finite after step {self.state.global_step}: not saved; the last checkpoint is from before it",
                todo=_CALMER,
            )
        if self.is_world_process_zero():
            self.before_save()
        self.store_flos()
        # a path says nothing on another machine: best_global_step does
        self.state.best_model_checkpoint = None
        for keeper in [*self.callback_handler.callbacks, self.control]:
            if isinstance(keeper, ExportableState):
                self.state.stateful_callbacks[type(keeper).__name__] = keeper.state()
        checkpoints.save_checkpoint(self, folder, self.facts)
        if self.is_world_process_zero():
            checkpoints.rotate(
                folder, self.settings.train.save_total_limit, self.state.best_global_step
            )
        wait_for_all()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        if self.is_fsdp_enabled:
            load_whole_weights(self.model, checkpoints.whole_weights_of(self.model, folder))
        else:
            checkpoints.load_weights_into(self.model, folder)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The library's; of a model that is divided among ranks our own files."""
        if checkpoint is None or not self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
        else:
            states, schedule = (
                torch.load(Path(checkpoint) / name, weights_only=True, map_location="cpu")
                for name in ("optimizer.pt", "scheduler.pt")
            )
            load_whole_optimizer(self.model, self.optimizer, states)
            self.lr_scheduler.load_state_dict(schedule)
        if checkpoint is not None:
            resuming.go_by(self.settings.train, self)


def make_trainer(
    model: Any,
    tokenizer: Any,
    args: SFTConfig,
    rows: Any,
    eval_rows: Any,
    settings: Settings,
    pad_id: int,
    facts: dict[str, Any],
    callbacks: list[Any],
    before_save: Callable[[], None] = lambda: None,
) -> Trainer:
    """Assemble the trainer on tokenized rows (datasets.Dataset with input_ids and labels)."""
    return Trainer(
        model=model,
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=collate_for(settings, pad_id),
        callbacks=callbacks,
        lengths=lengths_of(rows),
        eval_rows=eval_rows,
        settings=settings,
        facts=facts,
        before_save=before_save,
    )


def lengths_of(rows: Any) -> list[int]:
    """Tokens of each row, read from Arrow without making Python lists of ids."""
    import pyarrow.compute as pc

    return [int(n) for n in pc.list_value_length(rows.data.column("input_ids")).to_pylist()]
