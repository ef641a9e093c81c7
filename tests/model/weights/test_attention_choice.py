"""The attention implementation: what a model has, unless another one is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import ConfigError
from sftplay.model.weights.attention_choice import implementation_for, implementation_of
from sftplay.model.weights.load import load_weights
from sftplay.settings import Settings
from tests.model.random_models import random_model


def _settings(attention: str) -> Settings:
    return Settings.model_validate({"model": {"name": "x", "attention": attention}})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model with SDPA, and one without."""
    place = tmp_path_factory.mktemp("models")
    for family in ("Llama", "GptOss"):
        random_model(family).save_pretrained(place / family)
    return {family: place / family for family in ("Llama", "GptOss")}


@pytest.mark.parametrize(
    ("family", "asked", "name", "reason"),
    [
        ("Llama", "auto", "sdpa", "auto"),
        ("GptOss", "auto", "eager", "no SDPA for GptOssForCausalLM"),
        ("Llama", "eager", "eager", "asked for"),
        ("Llama", "sdpa", "sdpa", "asked for"),
    ],
)
def test_the_choice_and_its_reason(
    folders: dict[str, Path], family: str, asked: str, name: str, reason: str
) -> None:
    settings = _settings(asked)
    model: Any = load_weights(folders[family], settings, "cpu", "fp32")
    found = implementation_of(model, settings)
    assert found.value == name and reason in found.reason


def test_what_a_model_does_not_have_is_refused_with_advice(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_weights(folders["GptOss"], _settings("sdpa"), "cpu", "fp32")
    assert "model.attention=auto" in str(caught.value.todo)


def test_flash_attention_is_left_to_gpus(capsys: Any) -> None:
    assert implementation_for(_settings("flash_attention_2"), "cuda") == "flash_attention_2"
    assert implementation_for(_settings("flash_attention_2"), "cpu") is None
    assert "needs a GPU" in capsys.readouterr().err
