"""Training by nothing but PyTorch, transformers and PEFT: what the numerics matrix is compared with.

`python reference.py PLAN RESULT`: reads a plan as JSON, writes losses, norms and the first gradient
of each method and precision. It imports nothing of sftplay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

NUMBER = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def main(plan_file: str, result_file: str) -> None:
    """Train every combination of the plan."""
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    write_adapter(plan["model"], plan["adapter"], plan["rank"])
    found = {
        f"{method} {precision}": train(plan, method, precision)
        for method in plan["methods"]
        for precision in plan["precisions"]
    }
    Path(result_file).write_text(json.dumps(found), encoding="utf-8")


def write_adapter(model: str, target: str, rank: int) -> None:
    """A LoRA adapter with random A and B, saved by PEFT."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(11)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
    )
    tuned: Any = get_peft_model(load(model, "lora", "fp32", "cpu"), config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    tuned.save_pretrained(target)


def load(folder: str, method: str, precision: str, device: str) -> Any:
    """The base in fp32 and eager attention, with the numbers that a training in `precision` starts
    from.
    """
    from transformers import AutoModelForCausalLM

    base: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    base = base.to(device)
    with torch.no_grad():
        for parameter in base.parameters():
            if method != "full":  # which keeps fp32 weights
                parameter.copy_(parameter.to(NUMBER[precision]).float())
        for name, module in base.named_modules():
            if method == "qlora" and isinstance(module, torch.nn.Linear) and name != "lm_head":
                module.weight.copy_(nf4(module.weight.to(NUMBER[precision])))
    return base


def nf4(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight after NF4 with double quantization."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    with torch.compiler.set_stance("force_eager"):  # compiled, some scales are rounded otherwise
        packed, state = quantize_4bit(
            weight, blocksize=64, compress_statistics=True, quant_type="nf4"
        )
        return torch.as_tensor(dequantize_4bit(packed, state)).float()


def train(plan: dict[str, Any], method: str, precision: str) -> dict[str, Any]:
    """Every row in every step, one at a time, full logits; AdamW without decay."""
    from peft import PeftModel
    from safetensors.torch import save_file

    device = plan["device"]
    model = load(plan["model"], method, precision, device)
    if method != "full":
        model = PeftModel.from_pretrained(model, plan["adapter"], is_trainable=True)
    model.train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=plan["rate"], weight_decay=0.0, foreach=False
    )
    losses: list[float] = []
    norms: list[float] = []
    for _ in range(plan["steps"]):
        sums, count = [], 0
        for row in plan["rows"]:
            ids = torch.tensor([row["input_ids"]], device=device)
            labels = torch.tensor(row["labels"][1:], device=device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            sums.append(cross_entropy(logits.float(), labels, reduction="sum"))
            count += int((labels != -100).sum())
        loss = torch.stack(sums).sum() / count
        loss.backward()
        gradients = {name: p.grad for name, p in trained.items() if p.grad is not None}
        if not losses:
            kept = {name: each.detach().cpu().contiguous() for name, each in gradients.items()}
            save_file(kept, f"{plan['adapter']}-{method}-{precision}.safetensors")
        losses.append(float(loss.detach()))
        norms.append(float(torch.stack([each.norm() for each in gradients.values()]).norm()))
        optimizer.step()
        optimizer.zero_grad()
    return {"losses": losses, "norms": norms}


if __name__ == "__main__":
    main(*sys.argv[1:])
