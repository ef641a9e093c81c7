"""The method that `auto` stands for, and what was asked for by name."""

from __future__ import annotations

import pytest

from sftplay.settings import Settings, TrainSettings
from sftplay.tuning_method import choose_method, with_method


@pytest.mark.parametrize(("device", "method"), [("cpu", "lora"), ("cuda", "qlora")])
def test_auto_goes_by_the_device(device: str, method: str) -> None:
    assert choose_method(Settings(), device).value == method
    assert with_method(Settings(), device).train.method == method


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_a_method_that_was_named_is_kept(device: str, method: str) -> None:
    settings = Settings(train=TrainSettings(method=method))
    assert with_method(settings, device) is settings
    assert choose_method(settings, device).reason == "asked for"
