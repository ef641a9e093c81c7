from __future__ import annotations

import pytest

from sftplay.significance import judge


@pytest.mark.parametrize(
    ("metric", "interval", "rows", "verdict"),
    [
        ("rouge_l", [1.0, 9.0], 40, "better"),
        ("rouge_l", [-9.0, -1.0], 40, "worse"),
        ("rouge_l", [-1.0, 9.0], 40, "noise"),
        ("loss", [-0.5, -0.1], 40, "better"),
        ("loss", [0.1, 0.5], 40, "worse"),
        ("loss", [-0.5, -0.1], 3, "few"),
        ("chrf", None, 40, "unknown"),
        ("chrf", [0.0, 0.0], 40, "noise"),
    ],
)
def test_a_difference_counts_where_its_interval_leaves_zero(
    metric: str, interval: list[float] | None, rows: int, verdict: str
) -> None:
    assert judge(metric, interval, rows) == verdict
