"""run.json: what happened in a run, not what was asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from sftplay.content import code_hash
from sftplay.data.pipeline import FOLDERS
from sftplay.errors import SftplayError
from sftplay.freshness import STAMP
from sftplay.model.backends.targets import record_of
from sftplay.model.forward.collate import Packer
from sftplay.model.runtime.memory import peak_memory
from sftplay.model.training.assemble import Assembly
from sftplay.model.training.plan import Plan
from sftplay.places import data_folder
from sftplay.processor import processor_name
from sftplay.settings import Settings, TrainSettings
from sftplay.stamp import Stamp, surroundings
from sftplay.untrusted import read_json

_DATA = (
    "rows",
    "trained_tokens",
    "tokens",
    "max_tokens",
    "too_long",
    "dropped",
    "truncated",
    "values_hash",
)


def opening(
    plan: Plan, stamp: Stamp, assembly: Assembly, first_batch: dict[str, int]
) -> dict[str, Any]:
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
        "style": plan.facts.get("style"),
        "trackers": [*plan.settings.train.trackers, *still_tracked(plan)],
        "data": {key: plan.facts.get(key) for key in _DATA} | _mixed(plan.settings),
        "versions": stamp.versions,
        "effective": _effective(plan, assembly, first_batch),
        "code_hash": code_hash(),
        **surroundings(),
    }


def still_tracked(plan: Plan) -> list[str]:
    """Return trackio where an earlier start of the run named it and this one does not: a run that
    is shown stays shown.
    """
    try:
        earlier = read_json(plan.run.record).get("trackers")
    except SftplayError:
        return []
    kept = isinstance(earlier, list) and "trackio" in earlier
    return ["trackio"] if kept and "trackio" not in plan.settings.train.trackers else []


def _mixed(settings: Settings) -> dict[str, Any]:
    """Rows of each source in each split, if `data.mix` mixes several."""
    path = data_folder("processed", settings) / "report.json"
    mix = read_json(path).get("mix") if path.is_file() else None
    return {"mix": {one["source"]: one["rows"] for one in mix["sources"]}} if mix else {}


def _effective(plan: Plan, assembly: Assembly, first_batch: dict[str, int]) -> dict[str, Any]:
    """Settings read back from the objects that train, not from the config."""
    trainer = assembly.trainer
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    return {
        "device": str(plan.device),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "precision": str(plan.precision),
        "attention": plan.attention,
        "batch": str(plan.batch),
        "optimizer": str(
            getattr(trainer.args.optim, "value", trainer.args.optim)
        ),  # an enum that prints its class
        "trainable_dtype": sorted({str(p.dtype) for p in trained}),
        "trainable_parameters": sum(p.numel() for p in trained),
        "effective_batch": trainer.rows_per_step,
        **_extras(trainer.settings.train),
        **({"ranks": str(plan.world)} if plan.world.size > 1 else {}),
        "gradient_checkpointing": bool(trainer.args.gradient_checkpointing),
        "gradient_checkpointing_reason": plan.checkpointing.reason,
        "steps": trainer.planned_steps,
        "max_length": plan.settings.model.max_length,
        "lean": f"{', '.join(assembly.lean.value) or 'none'}: {assembly.lean.reason}",
        "packing": isinstance(trainer.data_collator, Packer),
        "first_batch": first_batch,
        "linear_weights": record_of(trainer.model),
    }


def _extras(train: TrainSettings) -> dict[str, str]:
    """Noise and learning rates that not every training has."""
    found = {}
    if train.neftune_noise_alpha is not None:
        found["neftune"] = f"noise of alpha {train.neftune_noise_alpha:g} on the embeddings"
    if train.loraplus_lr_ratio is not None:
        rate = train.learning_rate
        found["loraplus"] = (
            f"peak learning rate {rate:g} for A, {rate * train.loraplus_lr_ratio:g} for B"
        )
    return found


def closing(assembly: Assembly, published: str, seconds: float) -> dict[str, Any]:
    """Return the loop's results: steps, losses, speed, memory."""
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
        "tokens_per_second": round(telemetry.tokens_per_second, 1),
        "train_seconds": round(telemetry.seconds, 1),
        "step_seconds": round(telemetry.step_seconds, 1),
        "seconds": round(seconds, 1),
        "peak_memory_bytes": peak_memory(),
        "stopped_early": state.global_step < state.max_steps,
    }


def data_record(plan: Plan, lengths: list[int]) -> dict[str, Any]:
    """data.json: what every data stage says of its output, and how long the training rows are.

    Args:
        lengths: tokens of each training row.
    """
    folders = {stage: data_folder(kind, plan.settings) for stage, kind in FOLDERS.items()}
    stamps = {stage: folder / STAMP for stage, folder in folders.items()}
    report = folders["process"] / "report.json"
    return {
        "raw": plan.settings.data.mix or plan.settings.data.raw,
        "report": read_json(report) if report.is_file() else None,
        "stages": {stage: read_json(path) for stage, path in stamps.items() if path.is_file()},
        "lengths": sorted(
            [length, count] for length, count in Counter(map(_rounded, lengths)).items()
        ),
    }


def _rounded(length: int) -> int:
    """Exact below 4,096, then to 1 part in 128: the list stays short."""
    step = max(length.bit_length() - 8, 0) if length >= 4096 else 0
    return length >> step << step
