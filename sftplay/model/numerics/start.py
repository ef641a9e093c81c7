"""A training proves that it can learn: before it is stamped, and once more on the weights of its
second step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

from sftplay import console
from sftplay.errors import GradientError
from sftplay.handover import Reason
from sftplay.model.numerics import proof_cache
from sftplay.model.numerics.gradients import Comparison
from sftplay.model.numerics.proof import prove, sample_rows
from sftplay.model.numerics.reach import check_adapters, check_reach
from sftplay.model.training.plan import Plan, stamped_versions
from sftplay.model.unsloth.handing_over import BackendUnusableError
from sftplay.model.unsloth.probe import Verdict
from sftplay.stamp import Stamp

if TYPE_CHECKING:
    from sftplay.model.training.assemble import Assembly

# optimizer steps after which the weights are looked at again: with a warm-up, the first one may
# move nothing
STEPS = 2
_SAMPLE = 4096  # numbers of each parameter that are compared to see whether it moved
_SHOWN = 4  # problems that an error names


class Proof:
    """The proof of one training start.

    Args:
        refresh: tells the model that weights were changed in place.
    """

    def __init__(
        self,
        plan: Plan,
        stamp: Stamp,
        assembly: Assembly,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self.trainer, self.refresh = plan, assembly.trainer, refresh
        rows = Dataset.from_file(str(plan.tokenized / "train.arrow")).select_columns(
            ["input_ids", "labels"]
        )
        self.rows = sample_rows(rows)
        self.place = proof_cache.place_for(
            _facts(plan, stamp, str(assembly.lean)), stamped_versions(), plan.device.value
        )
        self.found: dict[str, Any] = {
            "proved": False,
            "where": proof_cache.machine_facts(plan.device.value),
        }

    def before_training(self) -> None:
        """Compare the gradients before the first step, unless that was done here before.

        Raises:
            GradientError: training would learn nothing, or something wrong (82).
            BackendUnusableError: the same in Unsloth, where BnB takes over.
            ConfigError: the settings change no weight (78). RefusedError: an adapter of zeros (76).
        """
        plan, model = self.plan, self.trainer.model
        if plan.settings.train.method != "full":
            check_adapters(model, str(plan.init_adapter) if plan.init_adapter else None)
        check_reach(model, plan.settings, self.trainer.planned_steps)
        if remembered := proof_cache.load_proof(self.place):
            self.found = {**remembered, "remembered": True}
            console.info(
                f"gradients were proved here before ({remembered['oracle']}, {_place(self.found)})"
            )
            return
        result = self._compare(adapter_off_zero=True)
        self._judge(result, "before the first step")
        self.found |= {"oracle": result.oracle, "before": result.as_json()}
        console.info(
            f"gradients agree with the {result.oracle}: norm {result.norm:.4g} and {result.plain_norm:.4g},"
            f" difference {result.difference:.2g} ({_place(self.found)})"
        )
        if result.unreached:
            console.warning(
                f"no gradient reaches {len(result.unreached)} of {result.parameters} trained parameters in the rows looked at"
                f" (unused experts or embeddings are so); the first is {result.unreached[0]}"
            )
        if plan.world.sharding == "none":  # the plain pass needs each weight in one piece
            self.trainer.add_callback(_AfterSteps(self))

    def after_steps(self, start: dict[str, torch.Tensor], steps: int, rates: float) -> None:
        """Compare once more, on weights that the optimizer has moved, and save_proof the result.

        Args:
            start: a sample of each parameter as it was, by name.
            steps: since then; rates: their learning rates added up.
        """
        result = self._compare(adapter_off_zero=False)
        moved = _moved(self.trainer.model, start)
        if not rates:
            console.warning(
                f"nothing was learned: the learning rate was 0 in {console.count_of(steps, 'step')}, all of them warm-up;"
                " train more steps, or --set train.warmup_steps=0"
            )
            return
        if (
            not moved and self.trainer.accelerator.scaler is None
        ):  # which skips steps by itself, in fp16
            result.problems.append(
                f"no trained weight has changed after {console.count_of(steps, 'optimizer step')}"
            )
        self._judge(result, f"after {console.count_of(steps, 'step')}")
        self.found |= {"proved": True, "after": result.as_json()}
        proof_cache.save_proof(self.place, self.found)

    def _compare(self, *, adapter_off_zero: bool) -> Comparison:
        plan = self.plan
        return prove(
            self.trainer.model,
            self.rows,
            collate=self.trainer.data_collator,
            device=plan.device.value,
            precision=plan.precision.value,
            plain_head=self.trainer.plain_head,
            has_plain_pass=plan.attempt.backend != "unsloth",
            refresh=self.refresh,
            adapter_off_zero=adapter_off_zero,
        )

    def _judge(self, result: Comparison, when: str) -> None:
        if not result.problems:
            return
        console.log(f"gradients {when}:\n" + "\n".join(result.problems))
        named = result.problems[:_SHOWN]
        rest = len(result.problems) - len(named)
        what = (
            f"training computes a wrong gradient here ({when}): "
            + "; ".join(named)
            + (f"; and {rest} more" if rest else "")
        )
        if self.plan.attempt.backend == "unsloth" and when.startswith("before"):
            reason: Reason = "kernel"
            raise BackendUnusableError(Verdict(reason, "GradientError", what))
        raise GradientError(
            what,
            where=str(self.plan.attempt.log),
            todo="try --set train.precision=fp32, or --set train.method=lora; see what works here: inv check --numerics\n"
            f"please report it with {self.plan.attempt.log}",
        )


def _facts(plan: Plan, stamp: Stamp, lean: str) -> dict[str, Any]:
    """Return what the arithmetic of a training depends on, other than machine and libraries."""
    return {
        "backend": stamp.backend,
        "precision": stamp.precision,
        "method": stamp.tuning_method,
        "attention": stamp.attention,
        "model": stamp.weights_hash,
        "lora": stamp.lora,
        "init_adapter": stamp.init_adapter,
        "checkpointing": plan.checkpointing.value,
        "packing": plan.settings.train.packing,
        "optimizer": plan.settings.train.optimizer,
        "lean": lean,
    }


def _place(found: dict[str, Any]) -> str:
    return str(found["where"].get("gpu") or found["where"].get("processor"))


def sample_of(model: Any) -> dict[str, torch.Tensor]:
    """Return the first numbers of each trained parameter, copied."""
    return {
        name: parameter.detach().reshape(-1)[:_SAMPLE].clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def _moved(model: Any, start: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(now, start[name]) for name, now in sample_of(model).items())


class _AfterSteps(TrainerCallback):
    """Looks at the weights when the optimizer has moved them."""

    def __init__(self, proof: Proof) -> None:
        self._proof, self._steps, self._rates = proof, 0, 0.0
        self._start: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep a sample of the weights."""
        self._start = sample_of(self._proof.trainer.model)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Add up the learning rates: in a warm-up the first one is 0."""
        self._rates += max(float(group["lr"]) for group in kwargs["optimizer"].param_groups)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look once: after STEPS steps, later where they were all warm-up at 0, or at the end of a
        shorter training.
        """
        self._steps += 1
        last = state.global_step >= state.max_steps or control.should_training_stop
        if self._start and (last or (self._steps >= STEPS and self._rates > 0)):
            self._proof.after_steps(self._start, self._steps, self._rates)
            self._start = {}
