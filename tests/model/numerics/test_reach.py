"""Settings that can change nothing, and adapters that can't leave zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sftplay.errors import ConfigError, RefusedError
from sftplay.model.backends import bnb
from sftplay.model.numerics.reach import check_adapters, check_reach
from sftplay.settings import Settings
from tests.model.random_models import random_model


def _reach(tmp_path: Path, method: str, rate: float, alpha: float = 8, steps: int = 20) -> float:
    random_model("Llama").save_pretrained(tmp_path)
    settings = Settings.model_validate(
        {"train": {"method": method, "learning_rate": rate}, "lora": {"r": 4, "alpha": alpha}}
    )
    model = bnb.prepare(bnb.load(settings, tmp_path, "cpu", "fp32"), settings, None)
    return check_reach(model, settings, steps)


@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_a_learning_rate_below_rounding_is_refused(method: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would change nothing"):
        _reach(tmp_path, method, 1e-12)


@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_usual_learning_rates_pass_without_a_word(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for rate in (1e-5, 2e-4, 1e-3):
        assert _reach(tmp_path, method, rate) > 1e-5
    assert "hardly" not in capsys.readouterr().err


def test_a_tiny_alpha_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lora\.alpha 1e-08"):
        _reach(tmp_path, "lora", 2e-4, alpha=1e-8)


def test_what_hardly_changes_the_model_is_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _reach(tmp_path, "lora", 1e-8)
    assert "hardly change" in capsys.readouterr().err


def test_an_adapter_of_zeros_is_refused(tmp_path: Path) -> None:
    random_model("Llama").save_pretrained(tmp_path)
    settings = Settings.model_validate({"train": {"method": "lora"}})
    model = bnb.prepare(bnb.load(settings, tmp_path, "cpu", "fp32"), settings, None)
    check_adapters(model, None)  # as it starts: B is zero, A is not
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.zero_()
    with pytest.raises(RefusedError, match="all zeros"):
        check_adapters(model, "some/adapter")
