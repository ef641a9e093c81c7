"""Training in bf16 learns as fp32 does: what an adapter adds is not rounded away, and its 16-bit
copies are never old.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sftplay.model.forward.collate import IGNORED, Collator
from sftplay.model.forward.loss import target_loss
from sftplay.model.lean import needs_autocast, slim
from sftplay.model.lean.lowrank import is_replaced
from sftplay.model.runtime.precision import autocast
from sftplay.model.weights.load import keep_layout
from tests.model.lean.adapted import load_frozen

STEPS, RATE = 20, 2e-3


def _rows(length: int, count: int, seed: int) -> list[dict[str, Any]]:
    chance = torch.Generator().manual_seed(seed)
    ids = [
        torch.randint(3, 60, (length - place,), generator=chance).tolist() for place in range(count)
    ]
    return [{"input_ids": each, "labels": [IGNORED] * 5 + each[5:]} for each in ids]


def _model(folder: Path, precision: str, *, nf4: bool = False, **lora: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    number = torch.bfloat16 if precision == "bf16" else torch.float32
    base = load_frozen(folder, number, nf4=nf4)
    keep_layout(base)
    torch.manual_seed(0)
    config = LoraConfig(
        r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", **lora
    )
    model = get_peft_model(base, config)
    for parameter in model.parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
    return model.train()


def _curve(model: Any, precision: str) -> list[float]:
    """Losses of the same row again and again, as a training lowers them."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, fused=True)
    losses = []
    for _ in range(STEPS):
        with autocast("cpu", precision, model):
            total, count = target_loss(model, Collator(0)(_rows(40, 4, 1)))
        (total / count).backward()
        losses.append(float(total.detach()) / count)
        optimizer.step()
        optimizer.zero_grad()
    return losses


@pytest.mark.parametrize("nf4", [False, True])
def test_the_loss_falls_as_in_fp32(tiny_model: Path, nf4: bool) -> None:
    """PEFT's own bf16 stays several times as far behind: that is what one rounding is for."""
    exact = _curve(_model(tiny_model, "fp32", nf4=nf4), "fp32")
    plain = _curve(_model(tiny_model, "bf16", nf4=nf4), "bf16")
    model = _model(tiny_model, "bf16", nf4=nf4)
    assert slim(model, "bf16").value[0].startswith("low-rank")
    ours = _curve(model, "bf16")
    fallen = exact[0] - exact[-1]
    lags = [abs(sum(curve) - sum(exact)) / STEPS / fallen for curve in (plain, ours)]
    assert fallen > 0.5
    assert lags[1] < 0.01
    assert abs(sum(ours) / sum(exact) - 1) < 0.005


@pytest.mark.parametrize("change", ["a fused step", "weights that are loaded", "a change in place"])
def test_no_pass_computes_with_old_weights(tiny_model: Path, change: str) -> None:
    """Fused optimizers do not count their changes, so nothing may be kept by that count."""
    model = _model(tiny_model, "bf16")
    slim(model, "bf16")
    batch = Collator(0)(_rows(20, 2, 2))

    def logits() -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model(input_ids=batch["input_ids"]).logits.float()
        return found

    total, count = target_loss(model, batch)
    (total / count).backward()
    before = logits()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if change == "a fused step":
        torch.optim.AdamW(trained.values(), lr=0.05, fused=True).step()
    elif change == "weights that are loaded":
        model.load_state_dict(
            {name: 0.1 * torch.randn_like(p) for name, p in trained.items()}, strict=False
        )
    else:
        for parameter in trained.values():
            parameter.data.add_(0.1)
    after = logits()
    for name, module in model.named_modules():  # PEFT's own code with today's weights
        if name and is_replaced(module):
            del module.__dict__["forward"]
    wanted = logits()
    assert float((after - wanted).norm() / wanted.norm()) < 0.03
    assert float((after - before).norm() / wanted.norm()) > 0.1


def test_bf16_that_computes_by_itself_needs_no_autocast(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = _model(tiny_model, "bf16")
    assert needs_autocast(model)  # PEFT multiplies with fp32 adapters
    assert "attention (2)" in slim(model, "bf16").value
    assert not needs_autocast(model)
    other = _model(tiny_model, "bf16", use_dora=True)
    slim(other, "bf16")
    assert needs_autocast(other)
    whole = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    slim(whole, "bf16")
    assert needs_autocast(whole)


@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_agree_with_plain_peft_in_fp32(tiny_model: Path, mixed: bool) -> None:
    """With autocast around it too, which is how it runs on a GPU."""
    batch = Collator(0)(_rows(150, 2, 3))

    def gradients(model: Any, number: torch.dtype | None) -> dict[str, torch.Tensor]:
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(
                    parameter, std=0.05, generator=torch.Generator().manual_seed(len(name))
                )
        with torch.autocast("cpu", dtype=number or torch.bfloat16, enabled=number is not None):
            total, count = target_loss(model, batch)
        (total / count).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    exact = gradients(_model(tiny_model, "fp32"), None)
    model = _model(tiny_model, "bf16")
    slim(model, "bf16")
    ours = gradients(model, torch.bfloat16 if mixed else None)
    assert ours.keys() == exact.keys()
    apart = torch.stack([(ours[name] - exact[name]).norm() for name in exact]).norm()
    assert float(apart / torch.stack([each.norm() for each in exact.values()]).norm()) < 0.05
    assert all(each.dtype == torch.float32 for each in ours.values())
