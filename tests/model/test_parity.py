"""Parity and portability of real trainings, and faults that both have to find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftplay.errors import RefusedError
from sftplay.parity import history, report
from sftplay.runs import Run
from tests.box import Box
from tests.model.handed_over import continue_in_bnb
from tests.model.run_files import read_events


def _train(box: Box, project: Path, name: str, rows: int, passes: int, **env: str) -> Run:
    sets = [
        f"train.batch_size={rows}", f"train.gradient_accumulation_steps={passes}", "train.max_steps=3", "train.logging_steps=1", "lora.dropout=0",
    ]  # fmt: skip
    words = [word for value in sets for word in ("--set", value)]
    ran = box.run("train", "--config", "demo.yaml", "--run", name, *words, cwd=project, **env)
    assert ran.code == 0, ran.err
    return Run(name)


def test_one_stack_agrees_with_itself_and_a_wrong_scale_does_not(
    project: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _train(box, project, "whole", 4, 1)
    split = _train(box, project, "split", 1, 4)
    wrong = _train(box, project, "wrong", 1, 4, BOX_BREAK="tests.faults:wrong_accumulation_scale")
    monkeypatch.chdir(project)
    assert [step.step for step in history(whole)] == [1, 2, 3]
    assert all(step.trained_tokens > 0 for step in history(whole))
    value = json.loads(report([whole, split], {}).read_text())
    assert value["passed"] and value["largest_difference"]["loss"] < 1e-4
    with pytest.raises(RefusedError, match="do not train alike"):
        report([whole, wrong], {})


def test_unsloth_that_breaks_while_training_hands_over_with_its_step(
    project: Path, box: Box
) -> None:
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", "backend=unsloth", "--set", "train.save_steps=1", cwd=project,
        BOX_BREAK="tests.faults:unsloth_breaks_in_step_three", SFTPLAY_NONCE="n" * 32,
    )  # fmt: skip
    assert ran.code == 79, ran.err
    run = project / "outputs" / "demo"
    found = json.loads((run / "attempts" / "01-unsloth" / "handover.json").read_text())
    assert (found["phase"], found["reason"], found["nonce"]) == ("train", "kernel", "n" * 32)
    assert found["step"] == 3 and found["message"] == "no kernel for this shape"
    events = [event["event"] for event in read_events(project)]
    assert events == ["started", "failed", "handed over"]
    on = continue_in_bnb(box, project, "--set", "backend=unsloth")
    assert on.code == 0 and "resuming" not in on.err, on.err
    assert json.loads((run / "backend.json").read_text())["fallback"]["reason"] == "kernel"


def test_later_than_max_lost_steps_nothing_is_handed_over(project: Path, box: Box) -> None:
    ran = box.run(
        "train", "--config", "demo.yaml", "--set", "backend=unsloth", "--set", "backend_fallback.max_lost_steps=1", cwd=project,
        BOX_BREAK="tests.faults:unsloth_breaks_in_step_three",
    )  # fmt: skip
    assert ran.code == 69 and "--resume" in ran.err and "inv train-bnb" in ran.err, ran.err
    assert not list(project.rglob("handover.json"))
