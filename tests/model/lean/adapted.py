"""The tiny model with an adapter, rows for it, and what a pass over them gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sftplay.model.forward.collate import IGNORED, Collator
from sftplay.model.forward.loss import target_loss

CHANCE = torch.Generator().manual_seed(3)


def _row(length: int) -> dict[str, Any]:
    ids = torch.randint(3, 60, (length,), generator=CHANCE).tolist()
    return {"input_ids": ids, "labels": [IGNORED] * (length // 2) + ids[length // 2 :]}


ROWS = [_row(length) for length in (17, 9, 23)]


def load_frozen(folder: Path, number: torch.dtype, *, nf4: bool) -> Any:
    """Load a base whose weights are not trained, in NF4 or as it is."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=number,
    )
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=number,
        quantization_config=quantization if nf4 else None,
        device_map={"": "cpu"},
    ).requires_grad_(False)


def adapted_model(folder: Path, *, nf4: bool = False, **lora: Any) -> Any:
    """Return the tiny model with an adapter whose B is not zero."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        load_frozen(folder, torch.float32, nf4=nf4),
        LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", task_type="CAUSAL_LM", **lora),
    )
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
        if "lora_B" in name:
            torch.nn.init.normal_(
                parameter, std=0.1, generator=torch.Generator().manual_seed(len(name))
            )
    return model.train()


def measure(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss of one pass over the rows, and its gradients by name."""
    model.zero_grad()
    total, _ = target_loss(model, Collator(2)(ROWS))
    total.backward()
    return total.detach(), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }
