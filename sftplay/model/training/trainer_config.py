"""Settings of TRL's trainer, made from ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import SFTConfig

from sftplay.model.training.plan import BatchSize
from sftplay.ranks import World
from sftplay.settings import Settings, TrainSettings


def trainer_config(
    settings: Settings,
    folder: Path,
    device: str,
    precision: str,
    batch: BatchSize,
    *,
    checkpointing: bool,
    mixed: bool,
    world: World,
) -> SFTConfig:
    """Our settings in TRL's words. TRL's own length, truncation, masking and preparation are
    switched off.

    Args:
        mixed: whether 16 bits are autocast's doing; else the model computes in them by itself.
    """
    train = settings.train
    return SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=batch.rows,
        per_device_eval_batch_size=batch.eval_rows,
        gradient_accumulation_steps=batch.passes,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.lr_scheduler,
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        optim=train.optimizer,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        seed=train.seed,
        data_seed=train.seed,
        bf16=mixed and precision == "bf16",
        fp16=mixed and precision == "fp16",
        use_cpu=device == "cpu",
        **_checkpointing(checkpointing and world.sharding == "none"),
        logging_steps=train.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=train.save_steps,
        eval_strategy="steps" if train.eval_steps else "no",
        eval_steps=train.eval_steps,
        metric_for_best_model="loss" if train.eval_steps else None,
        greater_is_better=False if train.eval_steps else None,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=device == "cuda",
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        **(_ranks(train, device) if world.size > 1 else {}),
        **(_sharding(checkpointing) if world.sharding == "full" else {}),
    )


def _ranks(train: TrainSettings, device: str) -> dict[str, Any]:
    """Settings of DDP. The library would look for unused parameters in an adapter's training: the
    fused output layer works outside of the forward pass, and DDP takes that for unused.
    """
    found: dict[str, Any] = {
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
        "ddp_timeout": train.ddp_timeout,
        "average_tokens_across_devices": True,
    }
    return found | ({"ddp_backend": "gloo"} if device == "cpu" else {})


def _checkpointing(on: bool) -> dict[str, Any]:
    """Under the library's present name for it; Unsloth's transformers has the old one only."""
    name = (
        "activation_checkpointing"
        if hasattr(SFTConfig, "activation_checkpointing")
        else "gradient_checkpointing"
    )
    return {name: on, f"{name}_kwargs": {"use_reentrant": False} if on else None}


def _sharding(checkpointing: bool) -> dict[str, Any]:
    """Settings of FSDP2: a layer at a time is whole, and its activations are its own to recompute."""
    config = {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "state_dict_type": "FULL_STATE_DICT",
        "reshard_after_forward": True,
        "activation_checkpointing": checkpointing,
    }
    return {"fsdp": True, "fsdp_config": config}
