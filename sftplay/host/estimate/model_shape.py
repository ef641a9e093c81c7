"""Sizes of a model, by the headers of its safetensors files: no torch, no weights, a few
milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.base_model import language_part
from sftplay.untrusted import read_model_json
from sftplay.weights import read_tensors

_NOT_LINEAR = re.compile(r"embed|lm_head|wte|wpe|norm|rotary", re.IGNORECASE)
_SIZE_IN_NAME = re.compile(r"(?<![a-z0-9])(\d+(?:\.\d+)?)([mb])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model, in weights (numbers, not bytes).

    Attributes:
        weights: all of them.
        linear: those in linear layers but the output layer: what QLoRA quantizes and `all-linear`
            adapts.
        experts: those of a mixture's experts, which transformers fuses: they are not quantized.
        active: share of the experts that work on a token.
        linear_ends: inputs plus outputs of those layers, summed: what a token's activations and an
            adapter's rank cost.
        adapted_ends: the same over the layers that get an adapter.
        layers, hidden, vocab: blocks, width, tokens known.
        exact: from the files; False: guessed from the model's name.
    """

    weights: int
    linear: int
    linear_ends: int
    adapted_ends: int
    layers: int
    hidden: int
    vocab: int
    exact: bool = True
    experts: int = 0
    active: float = 1.0

    @property
    def quantized(self) -> float:
        """Return the share of the weights in layers that QLoRA quantizes."""
        return self.linear / (self.linear + self.experts) if self.experts else 1.0


def read_shape(folder: Path, targets: str | Sequence[str]) -> ModelShape:
    """The shape of a local model.

    Args:
        folder: config.json and *.safetensors.
        targets: `all-linear`, or the last names of the modules that get an adapter.

    Raises:
        NotFoundError: not all of it is there (66). StorageError: a damaged file (74).
    """
    tensors = {name: tensor.shape for name, tensor in read_tensors(folder).items()}
    experts = {n: s for n, s in tensors.items() if ".experts." in n and len(s) > 1}
    linear = {
        n: s
        for n, s in tensors.items()
        if len(s) == 2 and n.endswith(".weight") and not _NOT_LINEAR.search(n) and n not in experts
    }
    adapted = [
        s for n, s in linear.items() if targets == "all-linear" or n.split(".")[-2] in targets
    ]
    config = language_part(read_model_json(folder / "config.json"))
    return ModelShape(
        weights=sum(math.prod(shape) for shape in tensors.values()),
        linear=sum(math.prod(shape) for shape in linear.values()),
        linear_ends=sum(sum(shape) for shape in linear.values()),
        adapted_ends=sum(sum(shape) for shape in adapted),
        layers=_number(config, "num_hidden_layers", "n_layer"),
        hidden=_number(config, "hidden_size", "n_embd"),
        vocab=_number(config, "vocab_size"),
        experts=sum(math.prod(shape) for shape in experts.values()),
        active=_active(config),
    )


def _number(config: Mapping[str, Any], *names: str) -> int:
    """The first of these that the config has; 1 where none is a number of something."""
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), 1)


def _active(config: Mapping[str, Any]) -> float:
    """Share of the experts that a token goes through."""
    keys = ("num_local_experts", "num_experts", "n_routed_experts")
    count = _number(config, *keys)
    chosen = _number(config, "num_experts_per_tok") if config.get("num_experts_per_tok") else count
    return min(chosen / count, 1.0)


def guess_shape(name: str) -> ModelShape | None:
    """A shape from the size that stands in a model's name (`smollm2-135m`, `Qwen3-0.6B`); None
    where none stands there.

    A transformer block holds about 12 · hidden² weights (arXiv:2001.08361, table 1), and models of
    a billion weights have about as many layers as hidden / 85.
    """
    found = _SIZE_IN_NAME.findall(name)
    if not found:
        return None
    number, unit = found[-1]
    weights = float(number) * (1e6 if unit in "mM" else 1e9)
    hidden = (weights * 85 / 12) ** (1 / 3)
    layers = max(round(hidden / 85), 1)
    ends = int(layers * 17.7 * hidden)
    return ModelShape(
        int(weights), int(weights * 0.85), ends, ends, layers, int(hidden), 100_000, exact=False
    )
