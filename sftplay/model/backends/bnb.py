"""BitsAndBytes with PEFT: NF4 base and LoRA, LoRA on a 16/32-bit base, or every weight. The same
code on GPU and CPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import ConfigError, NotFoundError, RefusedError
from sftplay.manifest import MANIFEST, problem_with
from sftplay.model.backends.targets import (
    check_found,
    check_targets,
    linear_names,
    other_parts,
    unknown_targets,
)
from sftplay.model.weights.load import load_weights
from sftplay.settings import Settings
from sftplay.untrusted import read_model_json

# Modules whose matrix these families multiply with without calling the module: an adapter there
# would do nothing, and PEFT refuses some of them (peft.tuners.tuners_utils).
_NEVER_CALLED = {
    "mamba": ["dt_proj", "out_proj"],
    "falcon_mamba": ["dt_proj", "out_proj"],
    "mamba2": ["out_proj"],
    "falcon_h1": ["out_proj"],
    "nemotron_h": ["out_proj"],
    "jamba": ["dt_proj"],
}


def load(settings: Settings, folder: Path, device: str, precision: str) -> Any:
    """The base. Full training keeps fp32 master weights; autocast computes in `precision`."""
    method = settings.train.method
    dtype = "fp32" if method == "full" else None
    return load_weights(
        folder, settings, device, precision, quantize=method == "qlora", dtype=dtype
    )


def prepare(model: Any, settings: Settings, init_adapter: Path | None) -> Any:
    """Add the adapter (or unfreeze all), trainable weights in fp32: what is saved is what was
    trained, bit for bit.
    """
    from peft import get_peft_model

    if settings.train.method == "full":
        model.requires_grad_(True)
        return model
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if init_adapter is not None:
        _check_shape(settings, init_adapter)
    check_targets(model, settings)
    left_out = _left_out(model, settings)
    if parts := other_parts(model):
        left_out = sorted({*left_out, *parts})
        console.info(
            f"{len(parts)} modules outside the language model are left alone: {parts[0]} …"
        )
    try:
        model = get_peft_model(model, lora_config(settings, left_out))
    except ValueError as error:
        if "not found in the base model" in str(error):
            raise unknown_targets(list(settings.lora.target_modules), model) from error
        raise ConfigError(
            f"lora.target_modules does not fit this model ({str(error)[:300]})",
            where="lora.target_modules",
            todo=f"name the modules: {', '.join(linear_names(model))}",
        ) from error
    check_found(model, settings)
    if init_adapter is not None:
        _take_weights(model, init_adapter)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _check_shape(settings: Settings, folder: Path) -> None:
    """The adapter to start from has the shape that the config, the stamp and a later resume go by.

    Raises:
        NotFoundError: no adapter (66). RefusedError: changed, or of another shape (76).
    """
    if not (folder / "adapter_config.json").is_file():
        raise NotFoundError(
            "no adapter there",
            where=str(folder),
            todo="--init-adapter requires a folder with adapter_config.json",
        )
    problem = problem_with(folder) if (folder / MANIFEST).is_file() else None
    found = read_model_json(folder / "adapter_config.json")
    if problem:
        raise RefusedError(
            f"the adapter was changed: {problem}",
            where=str(folder),
            todo="restore the file",
        )
    lora = settings.lora
    wanted = {
        "r": lora.r,
        "lora_alpha": lora.alpha,
        "use_dora": lora.dora,
        "use_rslora": lora.rslora,
    }
    keys = {"r": "r", "lora_alpha": "alpha", "use_dora": "dora", "use_rslora": "rslora"}
    other = {
        keys[name]: found.get(name)
        for name, value in wanted.items()
        if (found.get(name) or False) != value
    }
    if other:
        raise RefusedError(
            f"the adapter has another shape than the config: {', '.join(f'{key} {value}' for key, value in other.items())}",
            where=str(folder),
            todo="take its shape: "
            + " ".join(f"--set lora.{key}={json.dumps(value)}" for key, value in other.items()),
        )


def _take_weights(model: Any, folder: Path) -> None:
    """Its weights, every one of them, into the adapter that the config has made.

    Raises:
        RefusedError: they can't be read, or don't fit (76).
    """
    from peft import set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(str(folder / "adapter_model.safetensors"))
        result = set_peft_model_state_dict(model, state)
    except (SafetensorError, RuntimeError, FileNotFoundError) as error:
        raise RefusedError(
            f"the adapter's weights can't be taken over ({str(error).splitlines()[0][:200]})",
            where=str(folder),
            todo="is it of this base model? else restore the file, or train it again",
        ) from error
    lacking = [name for name in result.missing_keys if ".lora_" in name]
    if result.unexpected_keys or lacking:
        names = [*result.unexpected_keys, *lacking]
        raise RefusedError(
            f"the adapter is for other modules than lora.target_modules: {len(names)} weights differ, the first is {names[0]}",
            where=str(folder),
            todo="name the modules that it was trained for: lora.target_modules",
        )


def _left_out(model: Any, settings: Settings) -> list[str]:
    """Modules that `all-linear` leaves without an adapter, reported."""
    kind = getattr(model.config, "model_type", "")
    found = _NEVER_CALLED.get(kind, []) if settings.lora.target_modules == "all-linear" else []
    if found:
        console.info(
            f"all-linear leaves out {' and '.join(found)} of this model ({kind}): their matrix is read"
            " directly, and an adapter there would do nothing"
        )
    return found


def lora_config(settings: Settings, left_out: list[str] | None = None) -> Any:
    """PEFT's LoRA configuration from ours."""
    from peft import LoraConfig

    lora = settings.lora
    targets = (
        lora.target_modules if isinstance(lora.target_modules, str) else sorted(lora.target_modules)
    )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.peft_alpha,  # PEFT multiplies by it: a fraction is fine
        lora_dropout=lora.dropout,
        target_modules=targets,
        exclude_modules=left_out or None,
        use_dora=lora.dora,
        use_rslora=lora.rslora,
        target_parameters=sorted(lora.target_parameters) if lora.target_parameters else None,
        bias="none",
    )
