"""Unsloth: the same base, adapter and files as BnB, through Unsloth's kernels.

The one file that imports it.
"""

from __future__ import annotations

from sftplay.model.backends import unsloth_environ

unsloth_environ.prepare()
# Before transformers, TRL and PEFT: Unsloth replaces parts of them while they are being loaded, and
# what was loaded earlier stays as it was. It raises NotImplementedError without a GPU.
import unsloth  # noqa: E402, F401, I001
from unsloth import FastLanguageModel  # noqa: E402

from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from sftplay import console  # noqa: E402
from sftplay.errors import ConfigError  # noqa: E402
from sftplay.untrusted import read_model_json  # noqa: E402
from sftplay.model.backends import bnb  # noqa: E402
from sftplay.model.weights.load import keep_layout  # noqa: E402
from sftplay.model.runtime.quiet import quiet_libraries  # noqa: E402
from sftplay.model.runtime.precision import torch_dtype  # noqa: E402
from sftplay.settings import Settings  # noqa: E402

# Unsloth requires names. These are the linear layers of the families that it has kernels for; PEFT
# takes those that are there.
ALL_LINEAR = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def load(settings: Settings, folder: Path, device: str, precision: str) -> Any:
    """The base through Unsloth.

    Full training keeps fp32 master weights; autocast computes in `precision`.
    """
    quiet_libraries()
    method = settings.train.method
    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(folder),
        max_seq_length=_length(settings, folder),
        dtype=torch_dtype("fp32" if method == "full" else precision),
        load_in_4bit=method == "qlora",
        load_in_16bit=method == "lora" and precision != "fp32",
        full_finetuning=method == "full",
        float32_mixed_precision=True if method == "full" else None,
        use_exact_model_name=True,  # else names are swapped for repositories of its own
        use_gradient_checkpointing=False,  # the trainer switches it on, where it is wanted
        fix_tokenizer=False,
        fast_inference=False,
        random_state=settings.train.seed,
        trust_remote_code=settings.model.trust_remote_code,
        local_files_only=True,
        use_safetensors=True,
        **_placed(device),
    )
    _keep_vocabulary(model, folder)
    if method == "qlora":
        keep_layout(model)
    model.config.use_cache = True
    return model


def prepare(model: Any, settings: Settings, init_adapter: Path | None) -> Any:
    """Add the adapter (or unfreeze all) by Unsloth's own way, trainable weights in fp32."""
    if settings.train.method == "full":
        return bnb.prepare(model, settings, None)
    if init_adapter is not None:
        model = FastLanguageModel.patch_peft_model(
            bnb.prepare(model, settings, init_adapter), False
        )
    else:
        lora = settings.lora
        model = FastLanguageModel.get_peft_model(
            model,
            r=lora.r,
            lora_alpha=lora.peft_alpha,
            lora_dropout=lora.dropout,
            target_modules=_targets(model, settings),
            use_rslora=lora.rslora,
            use_dora=lora.dora,
            bias="none",
            use_gradient_checkpointing=False,
            random_state=settings.train.seed,
        )
    for config in model.peft_config.values():
        config.auto_mapping = None  # a note of Unsloth's to itself, which BnB's adapters don't have
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _placed(device: str) -> dict[str, Any]:
    return {"device_map": {"": 0 if device == "cuda" else "cpu"}}


def _length(settings: Settings, folder: Path) -> int:
    """The longest row.

    Beyond the model's own window Unsloth would stretch its positions, and BnB would not.
    """
    asked = settings.model.max_length
    window = read_model_json(folder / "config.json").get("max_position_embeddings") or asked
    if asked > window:
        console.warning(
            f"model.max_length is {asked}, the model's window {window} tokens: Unsloth works with {window}"
        )
    return int(min(asked, window))


def _keep_vocabulary(model: Any, folder: Path) -> None:
    """Unsloth may add a padding token of its own; sftplay pads by position and keeps the model's
    shape.
    """
    rows = read_model_json(folder / "config.json").get("vocab_size")
    if rows and model.get_input_embeddings().weight.shape[0] != rows:
        model.resize_token_embeddings(rows)


def _targets(model: Any, settings: Settings) -> list[str]:
    """Names of the modules that get an adapter, in a fixed order."""
    import torch

    asked = settings.lora.target_modules
    present = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    if isinstance(asked, str):
        return sorted(present & set(ALL_LINEAR)) or sorted(present - {"lm_head"})
    if missing := sorted(
        set(asked) - {name.rpartition(".")[2] for name, _ in model.named_modules()}
    ):
        raise ConfigError(
            f"lora.target_modules fits no module of this model: {', '.join(missing)}",
            todo="use all-linear, or names that the model has",
        )
    return sorted(asked)
