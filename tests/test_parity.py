"""Parity, the arithmetic: what counts as the same, and what does not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sftplay.errors import NotFoundError, RefusedError
from sftplay.manifest import sealed_folder
from sftplay.parity import Step, compare, difference, history, report
from sftplay.runs import Run

STEPS = [Step(1, 2.5, 1.25, 100), Step(2, 2.25, 1.5, 120), Step(3, 2.0, 0.75, 80)]


def test_the_same_is_the_same() -> None:
    assert compare(STEPS, STEPS) == []


def test_rounding_is_allowed() -> None:
    assert (
        compare(
            STEPS, [replace(s, loss=s.loss * 1.01, grad_norm=s.grad_norm * 0.95) for s in STEPS]
        )
        == []
    )


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([replace(STEPS[0], trained_tokens=99), *STEPS[1:]], "step 1: 100 and 99 trained tokens"),
        ([STEPS[0], replace(STEPS[1], loss=2.31), STEPS[2]], "step 2: loss 2.25 and 2.31"),
        ([*STEPS[:2], replace(STEPS[2], grad_norm=0.85)], "step 3: grad_norm 0.75 and 0.85"),
        ([*STEPS[:2], replace(STEPS[2], loss=float("nan"))], "step 3: loss 2 and nan"),
        (STEPS[:2], "other steps"),
        ([], "other steps"),
    ],
)
def test_a_difference_is_named(other: list[Step], said: str) -> None:
    assert said in compare(STEPS, other)[0]


@pytest.mark.parametrize("scale", [2, 4, 0.5])
def test_a_wrong_scale_fails_in_every_step(scale: float) -> None:
    wrong = [
        replace(step, loss=step.loss * scale, grad_norm=step.grad_norm * scale) for step in STEPS
    ]
    assert len(compare(STEPS, wrong)) == 6


def test_two_empty_histories_are_no_proof() -> None:
    assert compare([], [])


def test_what_is_not_a_number_is_far_away() -> None:
    assert difference(1.0, float("nan")) == float("inf") == difference(float("inf"), float("inf"))
    assert difference(0.0, 0.0) == 0.0


def _run(name: str, steps: list[Step]) -> Run:
    run = Run(name)
    attempt = run.attempt(1, "bnb")
    log = [asdict(step) for step in steps] + [{"eval_loss": 1.0, "step": 3}]
    with sealed_folder(attempt.checkpoints / "checkpoint-3", {"step": 3}) as folder:
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    for path in (attempt.stamp, run.stamp):
        path.write_text(json.dumps({"backend": "bnb"}))
    return run


def test_the_report_lies_in_both_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [_run("one", STEPS), _run("two", STEPS)]
    assert history(runs[0]) == STEPS
    path = report(runs, {"stacks": ["bnb", "cpu"]})
    value = json.loads(path.read_text())
    assert value["passed"] and value["largest_difference"] == {"loss": 0.0, "grad_norm": 0.0}
    assert json.loads((runs[1].folder / "parity.json").read_text()) == value


def test_a_report_that_fails_is_written_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [_run("one", STEPS), _run("two", [replace(STEPS[0], loss=float("nan")), *STEPS[1:]])]
    with pytest.raises(RefusedError, match="do not train alike") as caught:
        report(runs, {})
    assert caught.value.code == 76
    value = json.loads((runs[0].folder / "parity.json").read_text())
    assert value["passed"] is False and value["steps"][1][0]["loss"] is None


def test_a_run_without_a_checkpoint_or_without_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError):
        history(Run("none"))
    run = _run("old", STEPS)
    state = run.attempt(1, "bnb").checkpoints / "checkpoint-3"
    with sealed_folder(state, {"step": 3}) as folder:
        (folder / "trainer_state.json").write_text('{"log_history": [{"step": 1, "loss": 1.0}]}')
    with pytest.raises(RefusedError, match="grad_norm"):
        history(run)
