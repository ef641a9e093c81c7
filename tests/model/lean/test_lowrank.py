"""LoRA in one step: dropout, a switched-off adapter, and adapters of another kind."""

from __future__ import annotations

from pathlib import Path

import torch

from sftplay.model.lean import slim
from tests.model.lean.adapted import ROWS, adapted_model, measure


def test_the_adapter_can_still_be_switched_off(tiny_model: Path) -> None:
    model = adapted_model(tiny_model).eval()
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
        for name in slim(adapted_model(tiny_model, use_dora=True), "fp32").value
    )


def test_dropout_drops_what_the_plain_layers_drop(tiny_model: Path) -> None:
    """Both take their random numbers from the same stream."""
    results = []
    for lean in (False, True):
        torch.manual_seed(3)  # A starts with random numbers
        model = adapted_model(tiny_model, lora_dropout=0.3)
        if lean:
            assert slim(model, "fp32").value[0].startswith("low-rank")
        torch.manual_seed(4)
        results.append(measure(model))
    (expected, wanted), (loss, gradients) = results
    assert torch.allclose(loss, expected, rtol=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(
            gradient, wanted[name], rtol=1e-3, atol=1e-4 * float(wanted[name].abs().max())
        ), name
