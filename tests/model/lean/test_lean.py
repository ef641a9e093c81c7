"""Replaced parts give the loss and the gradients of the parts that they replace, and leave what
they don't know alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sftplay.model.lean import slim
from tests.model.lean.adapted import CHANCE, adapted_model, measure


@pytest.mark.parametrize("nf4", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_the_plain_models(
    tiny_model: Path, nf4: bool, checkpointing: bool
) -> None:
    model = adapted_model(tiny_model, nf4=nf4)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    expected, wanted = measure(model)
    done = slim(model, "fp32")
    assert [name.split(" (")[0] for name in done.value] == [
        "low-rank adapters",
        "RMS norms",
        "rotary embeddings",
    ]
    loss, gradients = measure(model)
    assert torch.allclose(loss, expected, rtol=1e-5)
    assert gradients.keys() == wanted.keys() and any("lora_A" in name for name in gradients)
    for name, gradient in gradients.items():
        assert torch.allclose(
            gradient, wanted[name], rtol=1e-3, atol=1e-4 * float(wanted[name].abs().max())
        ), name


def test_every_weight_trained(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).train()
    _, wanted = measure(model)
    slim(model, "fp32")
    _, gradients = measure(model)
    norm = next(name for name in gradients if name.endswith("norm.weight"))
    assert torch.allclose(gradients[norm], wanted[norm], rtol=1e-3, atol=1e-4)


def test_fp16_is_left_alone(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    done = slim(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float16), "fp16")
    assert done.value == [] and "fp32" in done.reason


def test_what_a_layer_gives_may_be_added_to_in_place(tiny_model: Path) -> None:
    """As Falcon adds the two halves of a layer."""
    model = adapted_model(tiny_model)
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    x = torch.randn((2, 5, layer.in_features), generator=CHANCE)
    plain = layer(x).detach()
    slim(model, "fp32")
    out = layer(x)
    out += 1
    out.sum().backward()
    assert torch.allclose(out.detach() - 1, plain, atol=1e-4)
    assert layer.lora_B["default"].weight.grad is not None
