"""An adapter added to the weights of its base.

Next to its base it costs a sixth of the time of each token, DoRA several times that.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch

from sftplay import console
from sftplay.errors import RefusedError
from sftplay.files import human_size


def fused(model: Any) -> Any:
    """The model with its adapter added to the weights, in place, where nothing is lost; else the
    model as it is.

    In fp32 the sum loses nothing that could be seen (`merge` proves it); in 16 bits it would be
    rounded, and 4-bit weights would be quantized again.
    """
    if not _fuses(model):
        return model
    separate(model, shared_layers(model))
    return model.merge_and_unload()


def fused_beside_base(model: Any, room: int) -> tuple[Any, Any] | None:
    """The model with its adapter added to the weights, and its base: layers without an adapter are
    in memory once.

    Args:
        room: bytes that the second weights of the layers with an adapter may take.

    Returns:
        None: they take more, or the adapter can't be added without loss (see `fused`); the model is
        as it was.
    """
    if not _fuses(model) or adapted_bytes(model) > room:
        return None
    # Parameters of their own for the base, over the same memory: the sum becomes new memory.
    same = {
        id(weight): torch.nn.Parameter(weight.data, requires_grad=False)
        for weight in model.parameters()
    }
    base = copy.deepcopy(model, same).unload()
    separate(model, shared_layers(model))
    return model.merge_and_unload(safe_merge=True), base


def adapted_bytes(model: Any) -> int:
    """Return the size of the weights of the layers that have an adapter."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return sum(
        weight.numel() * weight.element_size()
        for module in model.modules()
        if isinstance(module, BaseTunerLayer)
        for weight in _own_parameters(module.get_base_layer())
    )


def _fuses(model: Any) -> bool:
    """Return whether adding the adapter to the weights loses nothing."""
    return (
        hasattr(model, "merge_and_unload")
        and all(weight.dtype == torch.float32 for weight in model.parameters())
        and all(_is_embedding(model, layer) for layer in shared_layers(model).values())
    )


def merged(model: Any) -> Any:
    """The model with its adapter added to the weights, whatever their number format.

    Raises:
        RefusedError: layers inside the model share their weights, and its class can't save them
            apart (76).
    """
    shared = shared_layers(model)
    inside = [name for name, layer in shared.items() if not _is_embedding(model, layer)]
    if inside:
        raise RefusedError(
            f"the adapter is on {len(inside)} layers that share their weights with others"
            f" ({inside[0]}): one merged matrix can't stand for both",
            todo="use the adapter as it is (infer and eval do), or train with other lora.target_modules",
        )
    if shared:
        size = human_size(separate(model, shared))
        console.info(
            f"{', '.join(shared)} with its adapter and the layer that shares its matrix become two:"
            f" the merged model is {size} larger (tie_word_embeddings: false)"
        )
    return model.merge_and_unload()


def shared_layers(model: Any) -> dict[str, Any]:
    """Layers with an adapter whose weight another layer uses too, by name.

    Input embeddings and output layer are often one matrix: an adapter on the embeddings alone,
    added to it, would change the output layer as well.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    owners = Counter(
        id(parameter) for module in model.modules() for parameter in _own_parameters(module)
    )
    layers = {
        name: module.get_base_layer()
        for name, module in model.get_base_model().named_modules()
        if isinstance(module, BaseTunerLayer)
    }
    return {
        name: layer
        for name, layer in layers.items()
        if any(owners[id(parameter)] > 1 for parameter in _own_parameters(layer))
    }


def separate(model: Any, shared: dict[str, Any]) -> int:
    """Give embeddings weights of their own, and note it in the model's config; returns bytes."""
    taken = 0
    for layer in shared.values():
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        taken += layer.weight.numel() * layer.weight.element_size()
    if shared:
        config = model.get_base_model().config
        for each in (config, config.get_text_config(decoder=True)):
            each.tie_word_embeddings = False
    return taken


def _own_parameters(module: Any) -> list[Any]:
    return list(module.parameters(recurse=False))


def _is_embedding(model: Any, layer: Any) -> bool:
    base = model.get_base_model()
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    return any(layer is getattr(end, "base_layer", end) for end in ends)
