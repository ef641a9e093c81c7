"""Targets of an adapter and the quantized share, on small random models: by name, and refused
where they can't be meant.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from sftplay.errors import ConfigError
from sftplay.model.backends import bnb
from sftplay.model.backends.targets import check_quantized, linear_weights, record_of, say_adapted
from sftplay.settings import LoraSettings, Settings

SHAPE = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 128,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
OSS = {**EXPERTS, "layer_types": ["sliding_attention", "full_attention"]}


def random_model(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **more})
    return AutoModelForCausalLM.from_config(config)


def adapted(model: Any, **lora: Any) -> Any:
    return bnb.prepare(model, Settings(lora=LoraSettings(r=2, **lora)), None)


def test_every_linear_layer_of_a_plain_model(capfd: pytest.CaptureFixture[str]) -> None:
    model = adapted(random_model("Llama"))
    assert record_of(model) | {"adapted": None} == {
        "adapted": None, "not_adapted": {}, "adapted_share": 1.0, "quantized_share": 0.0,
    }  # fmt: skip
    assert record_of(model)["adapted"]["model.layers.*.mlp.up_proj"] == 2
    say_adapted(model)
    said = capfd.readouterr().err
    assert "adapters on 14 linear weights: down_proj, gate_proj, k_proj" in said
    assert "no adapter" not in said


def test_sizes_are_those_of_the_weights() -> None:
    model = random_model("Llama")
    known = {one.name: one.size for one in linear_weights(model)}
    assert known["model.layers.0.mlp.up_proj"] == 32 * 48
    outside = model.lm_head.weight.numel() + model.model.embed_tokens.weight.numel()
    matrices = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert sum(known.values()) == matrices - outside


def test_named_modules_leave_the_rest_out_and_say_so(capfd: pytest.CaptureFixture[str]) -> None:
    model = adapted(random_model("Llama"), target_modules=["q_proj", "v_proj"])
    found = record_of(model)
    assert set(found["adapted"]) == {f"model.layers.*.self_attn.{n}_proj" for n in "qv"}
    assert found["not_adapted"]["model.layers.*.mlp.down_proj"] == 2
    say_adapted(model)
    said = capfd.readouterr().err
    assert "no adapter on 2 × model.layers.*.self_attn.k_proj" in said
    assert "% of the linear weights" in said


@pytest.mark.parametrize("names", [["q_porj"], ["q_proj", "v_porj"]])
def test_a_misspelt_module_is_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError, match=names[-1]) as raised:
        adapted(random_model("Llama"), target_modules=names)
    assert f"did you mean {names[-1].replace('porj', 'proj')}?" in raised.value.what
    assert "down_proj, gate_proj" in raised.value.todo


def test_an_embedding_may_have_an_adapter() -> None:
    model = adapted(random_model("Llama"), target_modules=["embed_tokens", "q_proj"])
    assert record_of(model)["adapted"] == {"model.layers.*.self_attn.q_proj": 2}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("embed_tokens.lora_embedding_A" in name for name in trained)


@pytest.mark.parametrize("names", [["lm_head"], ["q_proj", "lm_head"]])
def test_the_output_layer_is_refused(names: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"the output layer \(lm_head\) can't have an adapter"):
        adapted(random_model("Llama"), target_modules=names)


def test_fused_experts_are_listed_and_offered(capfd: pytest.CaptureFixture[str]) -> None:
    model = adapted(random_model("GptOss", **OSS))
    assert record_of(model)["not_adapted"] == {
        "model.layers.*.mlp.router": 2,
        "model.layers.*.mlp.experts.gate_up_proj": 2,
        "model.layers.*.mlp.experts.down_proj": 2,
    }
    say_adapted(model)
    offer = "lora.target_parameters=[mlp.experts.down_proj, mlp.experts.gate_up_proj]"
    assert offer in capfd.readouterr().err


def test_target_parameters_reach_the_experts() -> None:
    names = ["mlp.experts.gate_up_proj"]
    found = record_of(adapted(random_model("GptOss", **OSS), target_parameters=names))
    assert found["adapted"]["model.layers.*.mlp.experts.gate_up_proj"] == 2
    assert found["not_adapted"]["model.layers.*.mlp.experts.down_proj"] == 2
    with pytest.raises(ConfigError, match=r"fits no parameter of this model: mlp\.experts\.nope"):
        adapted(random_model("GptOss", **OSS), target_parameters=["mlp.experts.nope"])


def quantized(model: Any) -> Any:
    """The same model with NF4 in its linear modules, as bitsandbytes does it."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            other = Linear4bit(module.in_features, module.out_features, False, quant_type="nf4")
            other.weight = Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
            model.set_submodule(name, other.to("cpu"))
    return model


def test_the_quantized_share_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    model = random_model("Llama")
    matrices = sum(one.size for one in linear_weights(model))
    total = sum(p.numel() for p in model.parameters())
    assert check_quantized(quantized(model)) == pytest.approx(matrices / total)
    assert "100% of those in linear layers" in capfd.readouterr().err
    assert record_of(model)["quantized_share"] == 1.0


def test_qlora_is_refused_where_the_experts_stay_as_they_are() -> None:
    with pytest.raises(ConfigError, match=r"leaves .*mlp\.experts\.gate_up_proj") as raised:
        check_quantized(quantized(random_model("Mixtral", **EXPERTS)))
    assert "train.method=lora" in raised.value.todo


def test_a_picture_part_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 4, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    text = {**SHAPE, "layer_types": ["sliding_attention", "full_attention"]}
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    model = adapted(Gemma3ForConditionalGeneration(config))
    assert "modules outside the language model are left alone" in capfd.readouterr().err
    found = record_of(model)
    assert not [name for name in found["adapted"] if "vision" in name]
    assert found["adapted"]["model.language_model.layers.*.mlp.up_proj"] == 2
