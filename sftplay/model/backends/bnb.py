"""BitsAndBytes with PEFT: NF4 base and LoRA, LoRA on a 16/32-bit base, or every weight. The same code on GPU and CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sftplay.errors import ConfigError, NotFoundError
from sftplay.model.load import load_weights
from sftplay.settings import Settings


def load(settings: Settings, folder: Path, device: str, precision: str) -> Any:
    """The base. Full training keeps fp32 master weights; autocast computes in `precision`."""
    method = settings.train.method
    dtype = "fp32" if method == "full" else None
    return load_weights(folder, settings, device, precision, quantize=method == "qlora", dtype=dtype)


def prepare(model: Any, settings: Settings, init_adapter: Path | None) -> Any:
    """Add the adapter (or unfreeze all), trainable weights in fp32: what is saved is what was trained, bit for bit."""
    from peft import PeftModel, get_peft_model

    if settings.train.method == "full":
        model.requires_grad_(True)
        return model
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if init_adapter is not None:
        if not (init_adapter / "adapter_config.json").is_file():
            raise NotFoundError(
                "no adapter there",
                where=str(init_adapter),
                todo="--init-adapter wants a folder with adapter_config.json",
            )
        model = PeftModel.from_pretrained(model, str(init_adapter), is_trainable=True)
    else:
        try:
            model = get_peft_model(model, lora_config(settings))
        except ValueError as error:
            raise ConfigError(
                f"lora.target_modules fits no module of this model ({str(error)[:200]})",
                todo="use all-linear, or names that the model has",
            ) from error
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def lora_config(settings: Settings) -> Any:
    """PEFT's LoRA configuration from ours."""
    from peft import LoraConfig

    lora = settings.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else sorted(lora.target_modules)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,  # PEFT multiplies by it: a fraction is fine
        lora_dropout=lora.dropout,
        target_modules=targets,
        use_dora=lora.dora,
        use_rslora=lora.rslora,
        bias="none",
    )
