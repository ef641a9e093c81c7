"""The proof: content with right models of many families, and not with what once went wrong."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from sftplay.model.backends import bnb
from sftplay.model.forward.collate import Collator
from sftplay.model.forward.head import has_plain_head
from sftplay.model.lean import slim
from sftplay.model.numerics.proof import prove, sample_rows
from sftplay.settings import Settings
from tests.model.random_models import FAMILIES, VOCABULARY, random_model

ROWS = sample_rows(
    [
        {
            "input_ids": torch.randint(
                8, VOCABULARY, (n,), generator=torch.Generator().manual_seed(n)
            ).tolist()
        }
        for n in (60, 25)
    ]
)


def _settings(method: str, **more: Any) -> Settings:
    lora = {"r": 4, "alpha": 8, "dora": method == "dora"}
    train = {"method": "lora" if method == "dora" else method}
    return Settings.model_validate(
        {"train": train, "lora": lora, "model": {"attention": "eager"}, **more}
    )


def _model(
    tmp_path: Path, method: str, precision: str = "fp32", family: str = "Llama", **sizes: int
) -> Any:
    random_model(family, **sizes).save_pretrained(tmp_path)
    settings = _settings(method)
    torch.manual_seed(0)
    return bnb.prepare(bnb.load(settings, tmp_path, "cpu", precision), settings, None)


def _proof(model: Any, precision: str = "fp32", **more: Any) -> Any:
    return prove(
        model,
        ROWS,
        collate=Collator(0),
        device="cpu",
        precision=precision,
        plain_head=has_plain_head(model),
        **more,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_right_model_of_any_family_passes(family: str, precision: str, tmp_path: Path) -> None:
    model = _model(tmp_path, "full", precision, family)
    slim(model, precision)
    found = _proof(model, precision)
    assert found.problems == []
    assert found.norm == pytest.approx(found.plain_norm, rel=0.2 if precision == "bf16" else 1e-3)


@pytest.mark.parametrize("method", ["qlora", "lora", "dora"])
@pytest.mark.parametrize("has_plain_pass", [True, False])
def test_every_method_passes_by_either_oracle(
    method: str, has_plain_pass: bool, tmp_path: Path
) -> None:
    model = _model(tmp_path, method)
    slim(model, "fp32")
    found = _proof(model, has_plain_pass=has_plain_pass)
    assert found.problems == []
    assert found.oracle == ("plain pass" if has_plain_pass else "slope of the loss")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_layout_without_a_derivative_is_found(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bitsandbytes changes 4-bit weights like this on a processor with AVX512-BF16, if it is
    allowed to.
    """
    import bitsandbytes.nn.modules

    from sftplay.processor import cpu_has_bf16, processor_name

    if not cpu_has_bf16():
        pytest.skip(
            f"{processor_name()} has no AVX512-BF16, so bitsandbytes has no packed kernel here"
        )
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    monkeypatch.setattr("sftplay.model.weights.load.keep_layout", lambda model: None)
    packable = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    found = _proof(_model(tmp_path, "qlora", precision, **packable), precision)
    assert found.difference > 0.5
    assert any("gradient" in problem for problem in found.problems)


@pytest.mark.parametrize("fault", ["stale", "cut", "scaled"])
def test_a_wrong_replacement_is_found(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replacements of ours that are wrong: a copy of B that nobody refreshes, a graph that is cut,
    a factor of two.
    """
    from sftplay.model.lean import lowrank

    model = _model(tmp_path, "lora")
    right: Any = lowrank._LowRank.apply

    def wrong(layer: Any, plain: Any, x: torch.Tensor) -> Any:
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        if fault == "stale":
            b = torch.zeros_like(b)
        return right(
            x.detach() if fault == "cut" else x,
            None,
            layer.get_base_layer(),
            None,
            a,
            b,
            layer.scaling["default"] * (2 if fault == "scaled" else 1),
        )

    wrong.__module__ = lowrank.__name__
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.forward = partial(wrong, module, module.forward)
    assert _proof(model).problems


def test_nothing_is_changed_by_the_proof(tmp_path: Path) -> None:
    model = _model(tmp_path, "lora")
    before = {name: p.clone() for name, p in model.named_parameters()}
    random, training = torch.get_rng_state(), model.training
    _proof(model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert model.training == training


def test_dropout_does_not_blur_the_comparison(tmp_path: Path) -> None:
    random_model("GPT2").save_pretrained(tmp_path)  # with dropout 0.1 in three places
    settings = _settings("lora", lora={"r": 4, "dropout": 0.3})
    model = bnb.prepare(bnb.load(settings, tmp_path, "cpu", "fp32"), settings, None)
    assert _proof(model).difference < 1e-4
