"""Targets of an adapter, and the share of a model that is quantized: what really happened to each
linear weight, by name.

transformers 5 keeps the experts of a mixture in one fused parameter. bitsandbytes quantizes linear
modules only, and PEFT's `all-linear` finds modules only, so both may leave most of such a model
out.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from sftplay import console
from sftplay.errors import ConfigError
from sftplay.settings import Settings

LEAST = 0.5  # of the linear weights: below it, QLoRA saves too little to be meant
_SHOWN = 6  # names in a line


@dataclass(frozen=True)
class LinearWeight:
    """A weight that multiplies activations, embeddings and convolutions aside.

    Attributes:
        name: of its module, or of the parameter if it is a fused one.
        size: numbers in it, before any quantization.
        fused: a parameter of several matrices (experts), which no linear module holds.
    """

    name: str
    size: int
    quantized: bool
    adapted: bool
    fused: bool

    @property
    def pattern(self) -> str:
        """Return the name with its numbers left open: one for all layers."""
        return re.sub(r"\.\d+(?=\.|$)", ".*", self.name)


def linear_weights(model: Any) -> list[LinearWeight]:
    """List every linear weight of a model, with or without an adapter; the output layer aside."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    modules = dict(base.named_modules())
    adapted = [
        (name, getattr(module, "parameter_name", None))
        for name, module in modules.items()
        if _has_adapter(module)
    ]
    found = []
    for name, parameter in _originals(base, modules):
        quantized = getattr(parameter, "quant_state", None)
        size = quantized.shape.numel() if quantized is not None else parameter.numel()
        inside = any(
            name.startswith(f"{one}.") and only in (None, name.rpartition(".")[2])
            for one, only in adapted
        )
        clean = name.replace(".base_layer", "").removesuffix(".weight")
        fused = not name.endswith(".weight")
        found.append(LinearWeight(clean, int(size), quantized is not None, inside, fused))
    return found


def _originals(base: Any, modules: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the base's own weights in linear modules and fused experts."""
    head = base.get_output_embeddings()
    others = (torch.nn.Embedding, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    for name, parameter in base.named_parameters():
        above, _, last = name.rpartition(".")
        module = modules[above]
        if ".lora_" in name or "bias" in last or isinstance(module, others) or module is head:
            continue
        if (
            last == "weight" and (parameter.dim() > 1 or hasattr(parameter, "quant_state"))
        ) or parameter.dim() == 3:
            yield name, parameter


def check_quantized(model: Any) -> float:
    """Print which share of the weights is quantized.

    Returns:
        The share of all weights, 0 to 1.

    Raises:
        ConfigError: most of what multiplies is not (78).
    """
    linear = linear_weights(model)
    done = sum(one.size for one in linear if one.quantized)
    rest = [one for one in linear if not one.quantized]
    others = sum(one.size for one in rest)
    in_four_bit = {id(p) for p in model.parameters() if getattr(p, "quant_state", None) is not None}
    plain = sum(p.numel() for p in model.parameters() if id(p) not in in_four_bit)
    share = float(done / max(done + plain, 1))
    left = f"; not {_patterns(rest)}" if rest else ""
    console.info(
        f"quantized to 4 bit (NF4): {share:.0%} of {(done + plain) / 1e6:,.1f} million weights, "
        f"{done / max(done + others, 1):.0%} of those in linear layers{left}"
    )
    if done < LEAST * (done + others):
        raise ConfigError(
            f"train.method qlora would quantize {done / max(done + others, 1):.0%} of the linear "
            f"weights of this model; bitsandbytes leaves {_patterns(rest)} as they are",
            where="train.method",
            todo="--set train.method=lora takes hardly more memory here, or choose another model",
        )
    return share


def check_targets(model: Any, settings: Settings) -> None:
    """Refuse names in `lora.target_modules` that can't be meant, before the adapter is made.

    Raises:
        ConfigError: the output layer (78).
    """
    asked = settings.lora.target_modules
    if isinstance(asked, str):
        return
    head = model.get_output_embeddings()
    name = next((name for name, module in model.named_modules() if module is head), "")
    if head is not None and any(_matches(target, name) for target in asked):
        raise ConfigError(
            f"the output layer ({name}) can't have an adapter: the loss is computed from its "
            "weights directly, so the adapter would never be trained",
            where="lora.target_modules",
            todo="leave it out of the list; train.method: full trains it",
        )


def check_found(model: Any, settings: Settings) -> None:
    """Refuse names in `lora.target_modules` that no module has: PEFT would pass over them.

    Raises:
        ConfigError: with the names that the model has (78).
    """
    asked = settings.lora.target_modules
    wrapped = {getattr(module, "parameter_name", None) for module in model.modules()}
    fused = settings.lora.target_parameters or []
    if lost := [name for name in fused if name.rpartition(".")[2] not in wrapped]:
        raise ConfigError(
            f"lora.target_parameters fits no parameter of this model: {', '.join(lost)}",
            todo=f"its linear weights are: {', '.join(linear_names(model))}",
        )
    if isinstance(asked, str):
        return
    taken = model.peft_config["default"].target_modules or ()
    names = [name for name, module in model.named_modules() if _has_adapter(module)]
    # what PEFT has turned into a fused parameter's name is not in its list any more
    unknown = [t for t in asked if t in taken and not any(_matches(t, name) for name in names)]
    if unknown:
        raise unknown_targets(unknown, model)


def unknown_targets(unknown: list[str], model: Any) -> ConfigError:
    """Say which names of `lora.target_modules` the model does not have, and which it has."""
    known = linear_names(model)
    close = [m for t in unknown for m in difflib.get_close_matches(t, known, n=1)]
    meant = f"; did you mean {', '.join(close)}?" if close else ""
    return ConfigError(
        f"lora.target_modules fits no module of this model: {', '.join(unknown)}{meant}",
        todo=f"use all-linear, or names that the model has: {', '.join(known)}",
    )


def linear_names(model: Any) -> list[str]:
    """List the last parts of the names of a model's linear weights."""
    return sorted({one.name.rpartition(".")[2] for one in linear_weights(model)})


def other_parts(model: Any) -> list[str]:
    """List the modules of a multimodal model that are not in its language model: they get no
    adapter.
    """
    config = model.config
    if not any(getattr(config, part, None) for part in ("vision_config", "audio_config")):
        return []
    head, language = model.get_output_embeddings(), set(model.get_decoder().modules())
    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, kinds) and module not in language and module is not head
    ]


def say_adapted(model: Any) -> None:
    """Print which linear weights got an adapter, and which did not."""
    linear = linear_weights(model)
    without = [one for one in linear if not one.adapted]
    console.info(f"adapters on {_names([one for one in linear if one.adapted])}")
    if without:
        share = sum(one.size for one in without) / max(sum(one.size for one in linear), 1)
        fused = [one.pattern for one in without if one.fused]
        named = sorted({name.rpartition("*.")[2] for name in fused})
        offer = f"; --set lora.target_parameters=[{', '.join(named)}] adds these" if named else ""
        console.info(
            f"no adapter on {_patterns(without)}: {share:.0%} of the linear weights{offer}"
        )


def record_of(model: Any) -> dict[str, Any]:
    """Return the same for run.json."""
    linear = linear_weights(model)
    total = max(sum(one.size for one in linear), 1)
    return {
        "adapted": dict(Counter(one.pattern for one in linear if one.adapted)),
        "not_adapted": dict(Counter(one.pattern for one in linear if not one.adapted)),
        "adapted_share": round(sum(one.size for one in linear if one.adapted) / total, 4),
        "quantized_share": round(sum(one.size for one in linear if one.quantized) / total, 4),
    }


def _has_adapter(module: Any) -> bool:
    """True for a module with weights of an adapter; those of an embedding have other names."""
    return bool(getattr(module, "lora_A", None) or getattr(module, "lora_embedding_A", None))


def _matches(target: str, name: str) -> bool:
    """Compare as PEFT does: the whole name, or its end."""
    return name == target or name.endswith(f".{target}")


def _names(weights: list[LinearWeight]) -> str:
    """Count weights by the last part of their names."""
    counts = Counter(one.name.rpartition(".")[2] for one in weights)
    return f"{len(weights)} linear weights: {', '.join(sorted(counts))}" if counts else "nothing"


def _patterns(weights: list[LinearWeight]) -> str:
    counts = Counter(one.pattern for one in weights)
    shown = [f"{count} × {name}" for name, count in counts.most_common(_SHOWN)]
    return ", ".join(shown) + (" …" if len(counts) > _SHOWN else "")
