"""Weights and optimizer of a model that FSDP2 has divided among the ranks, as whole tensors.

Never by torch's distributed checkpoint files: their metadata is a pickle.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from sftplay.errors import RefusedError

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_TRAINED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


def whole_states(model: Any, optimizer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return trained weights and optimizer states, whole, on rank 0; nothing on the others.

    Every rank takes part.

    Raises:
        RefusedError: a library gave one rank's part for the whole (76).
    """
    weights: dict[str, Any] = get_model_state_dict(model, options=_TRAINED)
    states: dict[str, Any] = get_optimizer_state_dict(model, optimizer, options=_WHOLE)
    if weights:
        shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
        for name, weight in weights.items():
            if tuple(weight.shape) != shapes.get(name, tuple(weight.shape)):
                raise RefusedError(
                    f"{name} would be saved in part only: {tuple(weight.shape)} of {shapes[name]}",
                    todo="train with --set train.shard=none, and report this with run.json",
                )
    return weights, states


def load_whole_weights(model: Any, weights: dict[str, Any]) -> None:
    """Put whole weights, which every rank has read, into a divided model."""
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, weights, options=options)


def load_whole_optimizer(model: Any, optimizer: Any, states: dict[str, Any]) -> None:
    """Put whole optimizer states, which every rank has read, into a divided optimizer."""
    set_optimizer_state_dict(
        model, optimizer, states, options=StateDictOptions(full_state_dict=True)
    )


def local_part(weight: torch.Tensor) -> torch.Tensor:
    """Return the part of a weight that this rank holds: all of it where it is not divided."""
    to_local = getattr(weight, "to_local", None)
    return weight if to_local is None else to_local()
