"""The same model computed the plain way: dequantized weights, eager attention, transformers' and
PEFT's own code.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint

from sftplay.model.forward.collate import IGNORED

_DROPOUT_RATES = (
    "attention_dropout",
    "attn_pdrop",
    "dropout_p",
)  # numbers that attention modules keep


@contextmanager
def plain(model: Any) -> Iterator[None]:
    """Let the model compute without our replacements and without packed 4-bit kernels; everything
    is put back.
    """
    with ExitStack() as stack:
        stack.enter_context(_without_replacements(model))
        stack.enter_context(_dequantized(model))
        stack.enter_context(_eager(model))
        was_training = model.training
        stack.callback(model.train, was_training)
        model.eval()
        yield


def plain_loss(model: Any, rows: list[dict[str, Any]]) -> tuple[torch.Tensor, int]:
    """Summed cross entropy of each row alone over its full logits, and the number of trained
    tokens.
    """
    total: torch.Tensor = torch.zeros((), device=model.device)
    count = 0
    for row in rows:
        ids = torch.tensor([row["input_ids"]], device=model.device)
        targets = torch.tensor(row["labels"][1:], device=model.device)
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
        total = total + cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        count += int((targets != IGNORED).sum())
    return total, count


@contextmanager
def no_dropout(model: Any) -> Iterator[None]:
    """Switch dropout off, so that two passes compute the same function; modes and rates are put
    back.
    """
    layers = [m for m in model.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd)]
    rates = [
        (layer, "p", layer.p) for layer in layers
    ]  # attention functions are handed the rate, not the layer
    rates += [
        (module, name, getattr(module, name))
        for module in model.modules()
        for name in _DROPOUT_RATES
        if isinstance(getattr(module, name, None), float)
    ]
    for module, name, _ in rates:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, rate in rates:
            setattr(module, name, rate)


@contextmanager
def _without_replacements(model: Any) -> Iterator[None]:
    """Take away what `lean` has put into modules and into the models' own source modules."""
    forwards = [
        (m, m.__dict__["forward"]) for m in model.modules() if _is_ours(m.__dict__.get("forward"))
    ]
    homes = {sys.modules.get(type(m).__module__) for m in model.modules()} - {None}
    functions = [
        (home, name, value)
        for home in homes
        for name, value in vars(home).items()
        if _is_ours(value)
    ]
    for module, _ in forwards:
        del module.__dict__["forward"]
    for home, name, value in functions:
        setattr(
            home, name, value.args[0]
        )  # a replaced function takes the one that it replaces first
    try:
        yield
    finally:
        for module, forward in forwards:
            module.__dict__["forward"] = forward
        for home, name, value in functions:
            setattr(home, name, value)


def _is_ours(value: Any) -> bool:
    return isinstance(value, partial) and value.func.__module__.startswith("sftplay.")


@contextmanager
def _dequantized(model: Any) -> Iterator[None]:
    """Let 4-bit layers multiply with their dequantized weights, by PyTorch's own product."""
    layers = [module for module in model.modules() if _is_four_bit(module)]
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        layer.__dict__["forward"] = partial(_dense_forward, layer)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.__dict__["forward"]
            if forward is not None:
                layer.__dict__["forward"] = forward


def _is_four_bit(module: Any) -> bool:
    """True for a layer of bitsandbytes itself. An adapter around one shows the same weight."""
    return type(module).__module__.startswith("bitsandbytes.") and hasattr(module, "quant_state")


def _dense_forward(layer: Any, x: torch.Tensor) -> Any:
    """Dequantize again in the backward pass: only one layer's weights are ever in memory."""
    return checkpoint(_dense_product, layer, x, use_reentrant=False)


def _dense_product(layer: Any, x: torch.Tensor) -> torch.Tensor:
    number = layer.compute_dtype or x.dtype
    bias = None if layer.bias is None else layer.bias.to(number)
    return linear(x.to(number), dense_weight(layer).to(number), bias).to(x.dtype)


@torch.no_grad()
def dense_weight(layer: Any) -> torch.Tensor:
    """Weights of a 4-bit layer, (out, in), in the number format that they were quantized from."""
    from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse, dequantize_4bit

    data, state = layer.weight.data, layer.weight.quant_state
    if getattr(state, "packing_format_for_cpu", False):
        data, state = _convert_weight_packed_for_cpu_inverse(data, copy.copy(state))
    dense: torch.Tensor = dequantize_4bit(data, state)
    return dense


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Let attention be computed by the models' own formula, where they can be told to."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    before = getattr(base.config, "_attn_implementation", None)
    if before in (None, "eager") or not base._can_set_attn_implementation():
        yield
        return
    base.set_attn_implementation("eager")
    try:
        yield
    finally:
        base.set_attn_implementation(before)
