"""Judgment of gradients: missing, not finite, or with another loss."""

from __future__ import annotations

import pytest

from sftplay.model.numerics.gradients import TOLERANCES, judge


def test_judge_names_a_parameter_that_no_gradient_reaches() -> None:
    limits = TOLERANCES["fp32"]
    found = judge(
        2.0, 2.0, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 0.5}, {"a": 0.0, "b": 0.5}, limits
    )
    assert any(problem.startswith("b: no gradient reaches it") for problem in found.problems)


def test_judge_lets_unused_parameters_be() -> None:
    found = judge(
        2.0,
        2.0,
        {"a": 1.0, "b": 0.0},
        {"a": 1.0, "b": 0.0},
        {"a": 1e-6, "b": 0.0},
        TOLERANCES["fp32"],
    )
    assert found.problems == []
    assert found.unreached == ["b"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_judge_refuses_what_is_not_finite(value: float) -> None:
    assert judge(2.0, 2.0, {"a": value}, {"a": 1.0}, {"a": value}, TOLERANCES["bf16"]).problems


def test_judge_compares_the_loss() -> None:
    assert judge(2.0, 2.1, {"a": 1.0}, {"a": 1.0}, {"a": 0.0}, TOLERANCES["fp32"]).problems


@pytest.mark.parametrize(
    ("precision", "share", "apart", "wrong"),
    [
        ("bf16", 0.0024, 0.88, False),  # as measured after two steps of LoRA; in fp32 it is 0.0002
        ("bf16", 0.0024, 1.0, False),
        ("bf16", 0.02, 0.88, True),
        ("fp32", 0.0024, 0.88, True),
    ],
)
def test_a_small_gradient_in_16_bits_may_be_rounding(
    precision: str, share: float, apart: float, wrong: bool
) -> None:
    plain = {"large": 1.0, "small": share}
    rest = {"large": 0.01 if precision == "bf16" else 0.0, "small": apart * share}
    found = judge(2.0, 2.0, plain, plain, rest, TOLERANCES[precision])
    assert bool(found.problems) == wrong


def test_a_small_gradient_that_stops_is_found_in_every_precision() -> None:
    for limits in TOLERANCES.values():
        gone = {"large": 1.0, "small": 0.0}
        found = judge(
            2.0, 2.0, gone, {"large": 1.0, "small": 1e-3}, {"large": 0, "small": 1e-3}, limits
        )
        assert ["no gradient reaches" in one for one in found.problems] == [True]
