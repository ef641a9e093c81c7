"""Precision is chosen from what the device can do, with the reason, before anything is loaded."""

from __future__ import annotations

import pytest

from sftplay.errors import MachineError
from sftplay.model.runtime.precision import _on_cpu, _on_gpu

TURING, AMPERE, HOPPER = (7, 5), (8, 0), (9, 0)


@pytest.mark.parametrize(
    ("asked", "capability", "value"),
    [
        ("auto", TURING, "fp16"),
        ("auto", AMPERE, "bf16"),
        ("auto", HOPPER, "bf16"),
        ("fp16", HOPPER, "fp16"),
        ("fp32", TURING, "fp32"),
        ("bf16", AMPERE, "bf16"),
    ],
)
def test_on_a_gpu(asked: str, capability: tuple[int, int], value: str) -> None:
    decision = _on_gpu(asked, capability, "a GPU")
    assert decision.value == value
    assert decision.reason


def test_no_bf16_on_turing() -> None:
    with pytest.raises(MachineError, match=r"capability 7\.5") as caught:
        _on_gpu("bf16", TURING, "Tesla T4")
    assert caught.value.code == 69
    assert "fp16" in caught.value.todo


@pytest.mark.parametrize(
    ("asked", "has_bf16", "value"),
    [
        ("auto", False, "fp32"),
        ("auto", True, "bf16"),
        ("bf16", False, "bf16"),
        ("fp32", True, "fp32"),
    ],
)
def test_on_a_cpu(asked: str, has_bf16: bool, value: str) -> None:
    decision = _on_cpu(asked, has_bf16)
    assert decision.value == value
    if asked == "auto":
        assert "fp32's" in decision.reason  # what was measured


@pytest.mark.parametrize("has_bf16", [True, False])
def test_every_weight_is_trained_in_fp32_on_a_cpu_unless_asked(has_bf16: bool) -> None:
    decision = _on_cpu("auto", has_bf16, full=True)
    assert decision.value == "fp32" and "fp32" in decision.reason
    assert _on_cpu("bf16", has_bf16, full=True).value == "bf16"


def test_no_fp16_on_a_cpu() -> None:
    with pytest.raises(MachineError):
        _on_cpu("fp16", True)
