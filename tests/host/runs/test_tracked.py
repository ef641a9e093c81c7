"""What a tracker shows of a run: points, answers and config, and nothing that names this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sftplay.files import write_json
from sftplay.host.runs import tracked
from sftplay.runs import Run
from tests.host.runfolders import write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def points(run: Run, *lines: dict[str, Any], torn: str = "") -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run.attempts()[-1].steps.write_text(text + torn)


def look(step: int, answer: str) -> str:
    sample = {"id": "1", "prompt": "hi", "reference": "ho", "answer": answer, "ended": True}
    return json.dumps({"step": step, "samples": [sample]}) + "\n"


def test_a_step_is_shown_once_with_its_last_values_in_order_of_time() -> None:
    run = write_run("a", finished=False)
    points(
        run,
        {"step": 1, "time": 10.0, "loss": 3.0, "tokens_per_second": None},
        {"step": 2, "time": 11.0, "loss": 2.5},
        {"step": 2, "time": 11.5, "eval_loss": 2.9},
        {"step": 3, "time": 12.0, "loss": 2.0},
        {"step": 2, "time": 20.0, "loss": 2.4},  # resumed from the checkpoint of step 1
        {"step": 2, "time": 9.0, "eval_loss": 2.8},  # the clock was set back
        torn='{"step": 3, "lo',
    )
    (training,) = tracked.trainings(run)
    assert (training.key, training.name) == ("a/01-bnb", "a")
    assert [(row.step, row.moment, dict(row.metrics)) for row in training.rows] == [
        (1, 10.0, {"train/loss": 3.0}),
        (2, 10.0, {"train/loss": 2.4, "eval/loss": 2.8}),
    ]


def test_answers_stand_at_their_step_and_those_of_an_undone_look_are_not_shown() -> None:
    run = write_run("a", finished=False)
    points(
        run,
        {"step": 2, "loss": 2.5},
        {"step": 2, "eval_loss": 2.9},
        {"step": 4, "loss": 2.0},
        {"step": 4, "eval_loss": 2.5},
        {"step": 2, "loss": 2.5},
        {"step": 2, "eval_loss": 2.9},
        {"step": 4, "loss": 1.9},  # not yet looked at again
    )
    run.attempts()[0].samples.write_text(
        look(2, "one") + look(4, "undone") + look(2, "two") + '{"step": 4, "sam'
    )
    first, second = tracked.trainings(run)[0].rows
    assert first.metrics[tracked.ANSWERS] == [{"prompt": "hi", "wanted": "ho", "answer": "two"}]
    assert dict(second.metrics) == {"train/loss": 1.9}


def test_an_attempt_that_was_handed_over_has_a_name_of_its_own() -> None:
    run = write_run("a", handed_over=True)
    first = run.attempt(1, "unsloth")
    first.folder.mkdir(parents=True)
    assert [one.name for one in tracked.trainings(run)] == ["a"]  # it has logged nothing
    first.steps.write_text('{"step": 1, "loss": 3.0}\n')
    assert [(one.key, one.name) for one in tracked.trainings(run)] == [
        ("a/01-unsloth", "a/01-unsloth"),
        ("a/02-bnb", "a"),
    ]


def test_the_config_names_no_place_on_this_machine(tmp_path: Path) -> None:
    run = write_run("a")
    home = Path.home()
    run.config.write_text(
        f"model: {{name: {tmp_path}/my models/tiny, max_length: 64}}\n"
        f"data:\n  raw: [~/rows.jsonl, {home}/b.csv, ../../up/c.csv, owner/name, data/raw]\n"
        f"  mix: {{{home}/d.jsonl: 3}}\n  chat_template: {home}/chat.jinja\n"
        "style: {prompt: /s is how I end}\ntrain: {learning_rate: 0.001, trackers: [trackio]}\n"
    )
    config = tracked.trainings(run)[0].config
    assert config["model.name"] == "tiny" and config["model.max_length"] == 64
    assert json.loads(config["data.raw"]) == ["rows.jsonl", "b.csv", "c.csv", "owner/name", "data/raw"]  # fmt: skip
    assert config["data.mix.d.jsonl"] == 3 and config["data.chat_template"] == "chat.jinja"
    assert config["style.prompt"] == "/s is how I end" and config["train.learning_rate"] == 0.001
    assert config["stamp.backend"] == "bnb" and config["attempt"] == "01-bnb"
    assert str(home) not in json.dumps(dict(config)) and str(tmp_path) not in str(config)


def test_runs_are_shown_by_their_last_start_and_never_fail() -> None:
    run = write_run("a")
    assert not tracked.is_tracked(run)  # of a version that knew no trackers
    record = json.loads(run.record.read_text())
    for named, shown in ((["tensorboard"], False), (["trackio"], True), ("trackio", False)):
        write_json(run.record, {**record, "trackers": named})
        assert tracked.is_tracked(run) is shown
    write_run("b").record.write_text("{")
    assert [one.name for one in tracked.candidates()] == ["a", "b"]
    assert not tracked.is_tracked(Run("b"))
    assert tracked.candidates("nothere") == [] and tracked.trainings(Run("nothere")) == []
    Path("outputs/.trackio").mkdir()
    Path("outputs/.trackio/run.json").write_text("{}")
    assert [one.name for one in tracked.candidates()] == ["a", "b"]


def test_numbers_that_no_store_holds_are_left_out() -> None:
    run = write_run("a")
    points(
        run,
        {"step": 1, "loss": 3.0, "time": 1e300},
        {"step": 2, "loss": 2.0, "time": -5},
        {"step": 10**30, "loss": 1.0},
    )
    run.config.write_text("train: {c: 123456789012345678901234567890, d: 7}\n")
    (training,) = tracked.trainings(run)
    assert [(row.step, tracked.iso(row.moment)[:4]) for row in training.rows] == [(1, "1970"), (2, "1970")]  # fmt: skip
    config = {key: value for key, value in training.config.items() if key.startswith("train.")}
    assert config == {"train.c": "123456789012345678901234567890", "train.d": 7}


def test_a_new_point_changes_the_state() -> None:
    run = write_run("a")
    before = tracked.state_of(run)
    assert tracked.state_of(run) == before
    with run.attempts()[0].steps.open("a") as steps:
        steps.write('{"step": 99, "loss": 1}\n')
    assert tracked.state_of(run) != before
