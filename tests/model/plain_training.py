"""A training by nothing but transformers, PEFT and PyTorch: the oracle of the matrix.

It imports nothing of sftplay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

NUMBER = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Trained:
    """Mean loss and gradient norm of each step, each parameter's gradient in each step, and the
    weights before and after.
    """

    losses: list[float]
    norms: list[float]
    gradients: list[dict[str, torch.Tensor]]
    start: dict[str, torch.Tensor]
    end: dict[str, torch.Tensor]


def load(folder: Path, method: str, precision: str) -> Any:
    """The base in fp32 and eager attention, with the numbers that a run in this precision starts
    from.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if method != "full":  # which keeps fp32 weights
                parameter.copy_(parameter.to(NUMBER[precision]).float())
        for name, module in model.named_modules():
            if method == "qlora" and isinstance(module, torch.nn.Linear) and name != "lm_head":
                module.weight.copy_(nf4(module.weight.to(NUMBER[precision])))
    return model


def nf4(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight after NF4 with double quantization."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    # Compiled by inductor, bitsandbytes' quantization of the scales rounds some of them to another
    # of 256 numbers.
    with torch.compiler.set_stance("force_eager"):
        packed, state = quantize_4bit(
            weight, blocksize=64, compress_statistics=True, quant_type="nf4"
        )
        return dequantize_4bit(packed, state).float()


def write_adapter(
    model_folder: Path, target: Path, targets: str | list[str] = "all-linear", **shape: Any
) -> Path:
    """A LoRA adapter with random A and B, saved by PEFT."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(11)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets, **shape)
    model = get_peft_model(load(model_folder, "lora", "fp32"), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    model.save_pretrained(target)
    return target


def train(
    folder: Path,
    rows: list[dict[str, Any]],
    method: str,
    precision: str,
    adapter: Path | None,
    steps: int,
    rate: float,
    ratio: float = 1.0,
    decay: float = 0.0,
) -> Trained:
    """Every row in every step, one at a time, full logits; AdamW, constant learning rate,
    no clipping.

    Args:
        ratio: of the learning rate of B to that of everything else.
    """
    from peft import PeftModel

    model = load(folder, method, precision)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    model.train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    start = {name: p.detach().clone() for name, p in trained.items()}
    groups = [
        {"params": [p], "lr": rate * (ratio if "lora_B" in name else 1)}
        for name, p in trained.items()
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=decay, foreach=False)
    losses, norms, gradients = [], [], []
    for _ in range(steps):
        total, count = torch.zeros(()), 0
        for row in rows:
            logits = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[
                0, :-1
            ]
            labels = torch.tensor(row["labels"][1:])
            total = total + cross_entropy(logits, labels, reduction="sum")
            count += int((labels != -100).sum())
        (total / count).backward()
        found = {name: p.grad.clone() for name, p in trained.items()}
        losses.append(float(total.detach()) / count)
        norms.append(float(torch.stack([g.norm() for g in found.values()]).norm()))
        gradients.append(found)
        optimizer.step()
        optimizer.zero_grad()
    return Trained(
        losses, norms, gradients, start, {name: p.detach().clone() for name, p in trained.items()}
    )
