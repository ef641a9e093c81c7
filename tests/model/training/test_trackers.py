"""Trackers of a training: what it writes for them, and that a resume may change them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sftplay.host.local import environments
from sftplay.host.runs import trackio
from sftplay.host.system import processes
from tests.box import Box
from tests.host.trackio.trackio_store import by_trackio, expected, stored, until


def test_event_files_are_written_for_tensorboard_alone_and_a_resume_may_change_trackers(
    project: Path, box: Box
) -> None:
    argv = ("train", "--config", "demo.yaml", "--set", "eval.show=1", "--set", "eval.max_new_tokens=4")  # fmt: skip
    run = project / "outputs/demo"
    ran = box.run(
        *argv, "--set", "train.max_steps=2", "--set", "train.trackers=[trackio]", cwd=project
    )
    assert ran.code == 0, ran.err
    assert not (run / "tb").exists() and "`inv trackio` shows this training" in ran.err
    assert json.loads((run / "run.json").read_text())["trackers"] == ["trackio"]
    assert (run / "attempts/01-bnb/samples.jsonl").is_file()
    more = ("--resume", "--set", "train.max_steps=4", "--set", "train.trackers=[]")
    ran = box.run(*argv, *more, cwd=project)
    assert ran.code == 0, ran.err
    assert "`inv trackio` still shows this run" in ran.err
    assert 'train.trackers ["trackio"] → []' in ran.err
    assert json.loads((run / "run.json").read_text())["trackers"] == ["trackio"]
    assert not (run / "tb").exists()


@pytest.mark.long  # makes trackio's environment, and trains four times
def test_trackio_shows_what_was_logged_plain_resumed_and_replaced(
    project: Path, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by trackio's own command; compared with TensorBoard's files of the same training."""
    monkeypatch.setenv("SFTPLAY_ENVS", str(environments.envs_folder()))
    environments.ensure("trackio")
    monkeypatch.chdir(project)
    port = processes.next_free(17300)
    more = {"trackers": "[tensorboard,trackio]", "eval_steps": 2, "max_steps": 8}
    argv = ["train", "--config", "demo.yaml", "--set", "eval.show=2", "--set", "eval.max_new_tokens=8"]  # fmt: skip
    argv += [word for key, value in more.items() for word in ("--set", f"train.{key}={value}")]
    trackio.start(port=port)  # before there is a run
    try:
        ran = box.run(*argv, cwd=project)
        assert ran.code == 0 and "`inv trackio` shows this training" in ran.err, ran.err
        until(lambda: len(stored().get("demo", ())) == 8)
        _compare("demo")

        long = (*argv, "--run", "other", "--set", "train.max_steps=60", "--set", "train.save_steps=10", "--set", "train.eval_steps=30")  # fmt: skip
        steps = Path("outputs/other/attempts/01-bnb/steps.jsonl")
        killed = box.start(*long, cwd=project)
        until(lambda: steps.is_file() and steps.read_text().count("\n") > 17, 120)
        killed.kill()
        killed.wait()
        until(lambda: len(stored().get("other", ())) > 17)
        ran = box.run(*long, "--resume", cwd=project)
        assert ran.code == 0, ran.err
        points = map(json.loads, steps.read_text().splitlines())
        trained = [point["step"] for point in points if "loss" in point]
        assert len(trained) > len(set(trained)) == 60  # some steps twice
        until(lambda: len(stored().get("other", ())) == 60)
        _compare("other")

        before = stored()["demo"]
        shutil.rmtree("outputs/demo")
        ran = box.run(*argv, "--set", "train.seed=7", "--set", "train.max_steps=6", cwd=project)
        assert ran.code == 0, ran.err
        until(lambda: list(stored().get("demo", ())) == [1, 2, 3, 4, 5, 6])
        _compare("demo")
        assert stored()["demo"][1] != before[1] and stored().keys() == {"demo", "other"}
    finally:
        trackio.stop()


def _values(run: str, metric: str) -> list[dict[str, Any]]:
    found = by_trackio("get", "metric", "--run", run, "--metric", metric)["values"]
    return [{"step": one["step"], "value": one["value"]} for one in found]


def _compare(run: str) -> None:
    """The curves against TensorBoard's, the rest against steps.jsonl, samples.jsonl and the config."""
    folder = Path("outputs") / run
    events = EventAccumulator(str(folder / "tb/01-bnb")).Reload()
    shown = by_trackio("get", "run", "--run", run)
    both = set(shown["metrics"]) & set(events.Tags()["scalars"])
    assert both >= {"train/loss", "train/grad_norm", "train/learning_rate", "eval/loss", "train/mean_token_accuracy", "train/epoch"}  # fmt: skip
    for metric in both:
        last = {point.step: point.value for point in events.Scalars(metric)}
        values = {one["step"]: one["value"] for one in _values(run, metric)}
        assert values == {step: pytest.approx(value, rel=1e-6) for step, value in last.items()}, metric  # fmt: skip
    points = stored()[run]
    answers = {step: point.pop("eval/answers") for step, point in points.items() if "eval/answers" in point}  # fmt: skip
    assert points == expected(folder / "attempts/01-bnb/steps.jsonl")
    looks = (folder / "attempts/01-bnb/samples.jsonl").read_text().splitlines()
    wanted = {look["step"]: look["samples"] for look in map(json.loads, looks)}
    assert answers.keys() == wanted.keys()
    for step, table in answers.items():
        assert table["_type"] == "trackio.table"
        asked = [(one["prompt"], one["reference"], one["answer"]) for one in wanted[step]]
        assert [(one["prompt"], one["wanted"], one["answer"]) for one in table["_value"]] == asked
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert shown["config"]["train.learning_rate"] == config["train"]["learning_rate"]
    assert shown["config"]["model.name"] == Path(config["model"]["name"]).name != config["model"]["name"]  # fmt: skip
