"""LoRA in one step: dropout, a switched-off adapter, and adapters of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_the_adapter_can_still_be_switched_off(tiny_model: Path) -> None:
    model = _model(tiny_model).eval()
    ids = torch.tensor([ROWS[0]["input_ids"]])
    with torch.no_grad():
        tuned = model(input_ids=ids).logits
        with model.disable_adapter():
            plain = model(input_ids=ids).logits
        slim(model, "fp32")
        assert torch.allclose(model(input_ids=ids).logits, tuned, rtol=1e-4, atol=1e-4)
        with model.disable_adapter():
            assert torch.allclose(model(input_ids=ids).logits, plain, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(tuned, plain, atol=1e-2)


def test_adapters_of_another_kind_keep_their_own_code(tiny_model: Path) -> None:
    assert not any(
        name.startswith("low-rank")
        for name in slim(_model(tiny_model, use_dora=True), "fp32").value
    )


def test_dropout_drops_what_the_plain_layers_drop(tiny_model: Path) -> None:
    """Both take their random numbers from the same stream."""
    results = []
    for lean in (False, True):
        torch.manual_seed(3)  # A starts with random numbers
        model = _model(tiny_model, lora_dropout=0.3)
        if lean:
            assert slim(model, "fp32").value[0].startswith("low-rank")
        torch.manual_seed(4)
        results.append(_measure(model))
    (expected, wanted), (loss, gradients) = results
    assert torch.allclose(loss, expected, rtol=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(
            gradient, wanted[name], rtol=1e-3, atol=1e-4 * float(wanted[name].abs().max())
        ), name
