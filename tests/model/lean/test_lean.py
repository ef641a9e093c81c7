"""Replaced parts give the loss and the gradients of the parts that they replace, and leave what
they don't know alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sftplay.model.forward.collate import IGNORED, Collator
from sftplay.model.forward.loss import target_loss
from sftplay.model.lean import slim

CHANCE = torch.Generator().manual_seed(3)


def _row(length: int) -> dict[str, Any]:
    ids = torch.randint(3, 60, (length,), generator=CHANCE).tolist()
    return {"input_ids": ids, "labels": [IGNORED] * (length // 2) + ids[length // 2 :]}


ROWS = [_row(length) for length in (17, 9, 23)]


def _model(folder: Path, *, nf4: bool = False, **lora: Any) -> Any:
    """The tiny model with an adapter whose B is not zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    base = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=quantization if nf4 else None,
        device_map={"": "cpu"},
    ).requires_grad_(False)
    model = get_peft_model(
        base,
        LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", task_type="CAUSAL_LM", **lora),
    )
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data
        if "lora_B" in name:
            torch.nn.init.normal_(
                parameter, std=0.1, generator=torch.Generator().manual_seed(len(name))
            )
    return model.train()


def _measure(model: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    total, _ = target_loss(model, Collator(2)(ROWS))
    total.backward()
    return total.detach(), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("nf4", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_the_plain_models(
    tiny_model: Path, nf4: bool, checkpointing: bool
) -> None:
    model = _model(tiny_model, nf4=nf4)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    expected, wanted = _measure(model)
    done = slim(model, "fp32")
    assert [name.split(" (")[0] for name in done.value] == [
        "low-rank adapters",
        "RMS norms",
        "rotary embeddings",
    ]
    loss, gradients = _measure(model)
    assert torch.allclose(loss, expected, rtol=1e-5)
    assert gradients.keys() == wanted.keys() and any("lora_A" in name for name in gradients)
    for name, gradient in gradients.items():
        assert torch.allclose(
            gradient, wanted[name], rtol=1e-3, atol=1e-4 * float(wanted[name].abs().max())
        ), name


def test_every_weight_trained(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).train()
    _, wanted = _measure(model)
    slim(model, "fp32")
    _, gradients = _measure(model)
    norm = next(name for name in gradients if name.endswith("norm.weight"))
    assert torch.allclose(gradients[norm], wanted[norm], rtol=1e-3, atol=1e-4)


def test_fp16_is_left_alone(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    done = slim(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float16), "fp16")
    assert done.value == [] and "fp32" in done.reason


def test_what_a_layer_gives_may_be_added_to_in_place(tiny_model: Path) -> None:
    """As Falcon adds the two halves of a layer."""
    model = _model(tiny_model)
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    x = torch.randn((2, 5, layer.in_features), generator=CHANCE)
    plain = layer(x).detach()
    slim(model, "fp32")
    out = layer(x)
    out += 1
    out.sum().backward()
    assert torch.allclose(out.detach() - 1, plain, atol=1e-4)
    assert layer.lora_B["default"].weight.grad is not None
