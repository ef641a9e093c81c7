"""Checks of a model folder before training, by its files alone: config.json against the tensors'
names and shapes.

Only what holds for every architecture is judged here, so that `check` on the host and every stage
can say it at once. The whole comparison, tensor by tensor, is transformers' own, made when the
model is loaded (`model.weights.loading_report`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sftplay.errors import ConfigError, NotFoundError, SftplayError
from sftplay.places import find_model
from sftplay.settings import ModelSettings, Settings
from sftplay.untrusted import AGAIN, read_model_json
from sftplay.weights import StoredTensor, read_tensors

Tensors = Mapping[str, StoredTensor]
# What saving a wrapped model puts before every name.
WRAPPERS = {
    "module.": "DistributedDataParallel",
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FullyShardedDataParallel",
    "base_model.model.": "PEFT",
}
_LAYER = re.compile(r"((?:.*?\.)?(?:layers|h|blocks|block|layer))\.(\d+)\.")
_EMBEDDING = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|embeddings)\.weight$"
)
_OTHER_PARTS = ("text_config", "vision_config", "audio_config")


def require_base_model(settings: Settings) -> Path:
    """The folder of the base model, found whole and of a kind that can be trained.

    Raises:
        NotFoundError: not there, or not all of it (66). StorageError: damaged (74).
        ConfigError: quantized already, or an encoder-decoder model (78).
    """
    folder = find_model(settings)
    check_base_model(folder, settings.model)
    return folder


def check_base_model(folder: Path, wanted: ModelSettings) -> Tensors:
    """Judge a model folder by its files.

    Returns:
        Its tensors by name.

    Raises:
        As `require_base_model`.
    """
    config = read_model_json(folder / "config.json")
    for problem in (_quantized(config, folder), _encoder_decoder(config, folder)):
        if problem:
            raise problem
    tensors = read_tensors(folder)
    for problem in _disagreements(config, tensors, folder, wanted):
        raise problem
    return tensors


def language_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json with the language model's numbers: models with a picture part keep
    them apart.
    """
    part = config.get("text_config")
    return part if isinstance(part, dict) and part else config


def tensor_list(names: Sequence[str]) -> str:
    """The first names of a list, in a line."""
    shown = ", ".join(names[:3])
    return f"{shown} … ({len(names)} in all)" if len(names) > 3 else shown


def wrapper_of(names: Sequence[str]) -> str | None:
    """The prefix that a wrapper has put before every name, if so."""
    return next(
        (prefix for prefix in WRAPPERS if names and all(n.startswith(prefix) for n in names)), None
    )


def foreign(what: str, folder: Path, todo: str = "") -> NotFoundError:
    """Weights that are not those of config.json: the model that it describes is not there."""
    return NotFoundError(
        f"these weights are not those of config.json: {what}",
        where=str(folder),
        todo=todo or f"put the config.json and the weights of one model there: {AGAIN}",
    )


def wrapped(prefix: str, count: int, folder: Path) -> NotFoundError:
    """Names that a wrapper has changed."""
    return foreign(
        f"each of the {count} names begins with `{prefix}`, as {WRAPPERS[prefix]} saves a model "
        "that it wraps",
        folder,
        "save the model inside the wrapper"
        + (
            ": merge the adapter first (model.merge_and_unload()), then save_pretrained"
            if prefix == "base_model.model."
            else f"; or rename the tensors: leave out `{prefix}`"
        ),
    )


def _quantized(config: Mapping[str, Any], folder: Path) -> SftplayError | None:
    """Weights that were quantized before: an adapter on them could not be merged, and most of the
    formats have no gradient here.
    """
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return None
    method = str(found.get("quant_method") or "?") if isinstance(found, dict) else "?"
    bits = found.get("bits") or found.get("num_bits") if isinstance(found, dict) else None
    if method == "bitsandbytes" and isinstance(found, dict):
        bits = 4 if found.get("load_in_4bit") else 8
    name = f"{method}, {bits} bit" if bits else method
    return ConfigError(
        f"this base model is quantized already ({name}); adapters are trained and merged on "
        "full-precision weights",
        where=f"model.name: {folder}",
        todo="name the model that it was made from (bf16 or fp16 weights); train.method: qlora "
        "quantizes it to 4 bit itself",
    )


def _encoder_decoder(config: Mapping[str, Any], folder: Path) -> SftplayError | None:
    """Of such a model only the decoder would be loaded, without what it reads."""
    if not config.get("is_encoder_decoder"):
        return None
    kind = next(iter(config.get("architectures") or []), config.get("model_type"))
    return ConfigError(
        f"an encoder-decoder model ({kind}): sftplay trains causal language models, and would load "
        "its decoder alone",
        where=f"model.name: {folder}",
        todo="choose a decoder-only model",
    )


def _disagreements(
    config: Mapping[str, Any], tensors: Tensors, folder: Path, wanted: ModelSettings
) -> Iterator[SftplayError]:
    """List contradictions between config.json and the tensors' names and shapes."""
    names = sorted(tensors)
    if prefix := wrapper_of(names):
        yield wrapped(prefix, len(names), folder)
    if not any(config.get(part) for part in _OTHER_PARTS):
        yield from _layers(config, names, folder, wanted)
        yield from _vocabulary(config, tensors, folder)


def _layers(
    config: Mapping[str, Any], names: Sequence[str], folder: Path, wanted: ModelSettings
) -> Iterator[SftplayError]:
    """Layers that the config counts and the files lack, or the other way round."""
    count = config.get("num_hidden_layers") or config.get("n_layer")
    numbered = [(m[1], int(m[2]), name) for name in names if (m := _LAYER.match(name))]
    if not isinstance(count, int) or not numbered:
        return
    if lost := sorted(set(range(count)) - {number for _, number, _ in numbered}):
        named = [f"{numbered[0][0]}.{number}.*" for number in lost]
        yield foreign(
            f"config.json counts {count} layers, and {len(lost)} of them have no tensor: "
            + tensor_list(named),
            folder,
        )
    extra = [name for _, number, name in numbered if number >= count]
    # DeepSeek-V3 and others keep layers for multi-token prediction behind the last one.
    if extra and not config.get("num_nextn_predict_layers") and wanted.extra_weights == "error":
        yield foreign(
            f"config.json counts {count} layers, and there are more: {tensor_list(extra)}", folder
        )


def _vocabulary(
    config: Mapping[str, Any], tensors: Tensors, folder: Path
) -> Iterator[SftplayError]:
    """Embeddings of another vocabulary, and an output layer that is not there."""
    rows = config.get("vocab_size")
    embeddings = {n: t.shape for n, t in tensors.items() if _EMBEDDING.search(n) and t.shape}
    if not isinstance(rows, int) or len(embeddings) != 1:
        return
    ((name, shape),) = embeddings.items()
    if shape[0] != rows:
        yield foreign(
            f"{name} has {shape[0]:,} rows, and config.json says vocab_size {rows:,}", folder
        )
    heads = [n for n, t in tensors.items() if n != name and len(t.shape) == 2 and rows in t.shape]
    if config.get("tie_word_embeddings") is False and not heads:
        yield foreign(
            "the output layer is missing (no second tensor of "
            f"{rows:,} rows beside {name}), and tie_word_embeddings is false",
            folder,
            "put the model's whole weights there; if its output layer is the embedding, set "
            "tie_word_embeddings to true in config.json",
        )
