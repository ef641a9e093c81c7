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
