"""run.json: what happened in a run, not what was asked for."""

from __future__ import annotations

import resource
from typing import Any

import torch

from sftplay.model.assemble import Assembly
from sftplay.model.plan import Plan
from sftplay.stamp import Stamp, surroundings

_DATA = ("rows", "trained_tokens", "tokens", "max_tokens", "too_long", "dropped", "truncated", "values_hash")


def opening(plan: Plan, stamp: Stamp, assembly: Assembly, first_batch: dict[str, int]) -> dict[str, Any]:
    """The record as known before the first step."""
    return {
        "name": plan.run.name,
        "state": "running",
        "attempt": plan.attempt.name,
        "method": plan.settings.train.method,
        "backend": plan.attempt.backend,
        "quantization": stamp.quantization,
        "template": {key: plan.facts.get(key) for key in ("eot", "eot_id", "date")}
        | {"hash": plan.facts["template_hash"]},
        "data": {key: plan.facts.get(key) for key in _DATA},
        "versions": stamp.versions,
        "effective": _effective(plan, assembly, first_batch),
        **surroundings(),
    }


def _effective(plan: Plan, assembly: Assembly, first_batch: dict[str, int]) -> dict[str, Any]:
    """Settings read back from the objects that train, not from the config."""
    trainer = assembly.trainer
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    return {
        "device": str(plan.device),
        "precision": str(plan.precision),
        "attention": getattr(trainer.model.config, "_attn_implementation", "unknown"),
        "optimizer": str(trainer.args.optim),
        "trainable_dtype": sorted({str(p.dtype) for p in trained}),
        "trainable_parameters": sum(p.numel() for p in trained),
        "effective_batch": trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps,
        "gradient_checkpointing": bool(trainer.args.gradient_checkpointing),
        "gradient_checkpointing_reason": plan.checkpointing.reason,
        "steps": trainer.planned_steps,
        "max_length": plan.settings.model.max_length,
        "packing": bool(trainer.args.packing),
        "first_batch": first_batch,
    }


def closing(assembly: Assembly, published: str, seconds: float) -> dict[str, Any]:
    """What the loop leaves: steps, losses, speed, memory."""
    state, telemetry = assembly.trainer.state, assembly.telemetry
    losses = telemetry.losses
    return {
        "state": "finished",
        "steps": state.global_step,
        "published": published,
        "first_loss": losses[0][1] if losses else None,
        "last_loss": losses[-1][1] if losses else None,
        "val_loss": state.best_metric if state.best_metric is not None else telemetry.val_loss,
        "tokens": telemetry.tokens,
        "tokens_per_second": round(telemetry.tokens / max(telemetry.seconds, 1e-9), 1),
        "train_seconds": round(telemetry.seconds, 1),
        "seconds": round(seconds, 1),
        "peak_memory_bytes": peak_memory(),
        "stopped_early": state.global_step < state.max_steps,
    }


def peak_memory() -> int:
    """Peak bytes: of the GPU where one was used, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
