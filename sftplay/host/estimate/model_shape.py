"""Sizes of a model, by the headers of its safetensors files: no torch, no weights, a few
milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sftplay.files import read_json
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


def read_shape(folder: Path, targets: str | Sequence[str]) -> ModelShape:
    """The shape of a local model.

    Args:
        folder: config.json and *.safetensors.
        targets: `all-linear`, or the last names of the modules that get an adapter.

    Raises:
        NotFoundError: not all of it is there (66). StorageError: a damaged file (74).
    """
    tensors = {name: tensor.shape for name, tensor in read_tensors(folder).items()}
    linear = {
        n: s
        for n, s in tensors.items()
        if len(s) == 2 and n.endswith(".weight") and not _NOT_LINEAR.search(n)
    }
    adapted = [
        s for n, s in linear.items() if targets == "all-linear" or n.split(".")[-2] in targets
    ]
    config = read_json(folder / "config.json")
    config = (
        config.get("text_config") or config
    )  # models with a picture part keep the language model's numbers there
    return ModelShape(
        weights=sum(math.prod(shape) for shape in tensors.values()),
        linear=sum(math.prod(shape) for shape in linear.values()),
        linear_ends=sum(sum(shape) for shape in linear.values()),
        adapted_ends=sum(sum(shape) for shape in adapted),
        layers=int(config.get("num_hidden_layers") or config.get("n_layer") or 1),
        hidden=int(config.get("hidden_size") or config.get("n_embd") or 1),
        vocab=int(config.get("vocab_size") or 1),
    )


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
