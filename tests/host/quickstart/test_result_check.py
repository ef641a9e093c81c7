"""Result check: too little learned is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.host.quickstart.result_check import check_result
from sftplay.runs import Run


def _evaluated(folder: Path, base: float, tuned: float) -> Run:
    run = Run("judged")
    path = folder / run.eval("val")
    path.mkdir(parents=True)
    (path / "metrics.json").write_text(
        json.dumps({"metrics": {"loss": {"base": base, "tuned": tuned}}})
    )
    return run


@pytest.mark.parametrize(("base", "tuned", "only_sample", "doubt"), [
    (4.37, 0.98, True, None),  # what the defaults reach
    # what they reached while the gradient stopped at 4-bit layers
    (4.37, 3.13, True, "learned less than it should"),
    (1.50, 1.20, False, None),
    (1.50, 1.45, False, "hardly better than the base"),
])  # fmt: skip
def test_a_training_that_learned_too_little_is_doubted(
    base: float,
    tuned: float,
    only_sample: bool,
    doubt: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = check_result(_evaluated(tmp_path, base, tuned), only_sample=only_sample)
    assert [doubt in line for line in found] == ([True] if doubt else [])
