"""LoRA+: a higher learning rate for the B matrices of an adapter (arXiv:2402.12354)."""

from __future__ import annotations

from typing import Any

from sftplay.settings import TrainSettings


def loraplus_optimizer(
    model: Any, kind: type[Any], options: dict[str, Any], train: TrainSettings
) -> Any:
    """Make PEFT's LoRA+ optimizer.

    Args:
        kind: class of the optimizer; options: its arguments, `lr` among them.
    """
    from peft.optimizers import create_loraplus_optimizer

    embedding = train.loraplus_lr_embedding
    optimizer: Any = create_loraplus_optimizer(
        model,
        kind,
        loraplus_lr_ratio=train.loraplus_lr_ratio,
        loraplus_weight_decay=train.weight_decay,
        **({} if embedding is None else {"loraplus_lr_embedding": embedding}),
        **options,
    )
    # PEFT makes a group for each kind of weight, those that the adapter does not have included
    optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]
    return optimizer


def rates_of(optimizer: Any) -> str:
    """Describe the learning rates of an optimizer's groups of weights."""
    counts: dict[float, int] = {}
    for group in optimizer.param_groups:
        counts[group["lr"]] = counts.get(group["lr"], 0) + len(group["params"])
    return ", ".join(f"{rate:.6g} for {count:,} weights" for rate, count in sorted(counts.items()))
