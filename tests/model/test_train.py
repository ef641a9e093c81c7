"""Training through the real command: exact, resumable, stampable, and refusing what would be
another training.
"""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.box import Box, wait_for
from tests.model.run_files import read_events, weights_hash

STEPS = 8  # of the project's demo.yaml


@pytest.fixture(scope="module")
def reference(
    tokenized_project: Path, box: Box, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Hash of the weights of one uninterrupted run, by method and precision."""
    known: dict[str, str] = {}

    class Lazy(dict[str, str]):
        def __missing__(self, key: str) -> str:
            folder = tmp_path_factory.mktemp("reference") / "project"
            shutil.copytree(tokenized_project, folder)
            ran = box.run("train", "--config", "demo.yaml", *_set(key), cwd=folder)
            assert ran.code == 0, ran.err
            known[key] = self[key] = weights_hash(folder)
            return known[key]

    return Lazy()


def _set(variant: str) -> list[str]:
    method, precision = variant.split("-")
    return ["--set", f"train.method={method}", "--set", f"train.precision={precision}"]


def test_the_resolved_config_runs_again_to_the_same_bytes(
    project: Path, box: Box, reference: dict[str, str]
) -> None:
    assert box.run("train", "--config", "demo.yaml", cwd=project).code == 0
    shutil.copy(project / "outputs" / "demo" / "config.yaml", project / "again.yaml")
    ran = box.run("train", "--config", "again.yaml", "--run", "again", cwd=project)
    assert ran.code == 0, ran.err
    assert weights_hash(project, "again") == weights_hash(project) == reference["lora-fp32"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resume_gives_the_same_bytes(
    project: Path, box: Box, reference: dict[str, str], signum: int
) -> None:
    started = box.start("train", "--config", "demo.yaml", cwd=project)
    wait_for(project / "outputs/demo/attempts/01-bnb/progress.json")
    started.kill(signum)
    ran = started.wait()
    if ran.code == 0:
        pytest.fail("the run was over before the signal: raise STEPS")
    assert ran.code == 85, ran.err
    assert "--resume" in ran.err
    assert "interrupted" in [event["event"] for event in read_events(project)]
    if signum == signal.SIGINT:  # the step that it had is not shown as that of its next start
        fault = {"BOX_BREAK": "tests.faults:breaks_in_its_first_step"}
        assert box.run("train", "--run", "demo", "--resume", cwd=project, **fault).code
        assert not (project / "outputs/demo/attempts/01-bnb/progress.json").exists()
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0, ran.err
    assert weights_hash(project) == reference["lora-fp32"]


def test_a_second_trainer_on_the_same_run_is_refused(project: Path, box: Box) -> None:
    first = box.start(
        "train", "--config", "demo.yaml", "--set", "train.max_steps=5000", cwd=project
    )
    wait_for(project / "outputs/demo/attempts/01-bnb/progress.json")
    second = box.run("train", "--config", "demo.yaml", "--resume", cwd=project)
    assert second.code == 75, second.err
    assert "a trainer" in second.err
    first.kill(signal.SIGTERM)
    assert first.wait().code == 85


def test_resume_after_the_last_step_trains_nothing_more(
    project: Path, box: Box, reference: dict[str, str]
) -> None:
    """The library's loop would train one step more."""
    assert box.run("train", "--config", "demo.yaml", cwd=project).code == 0
    record = json.loads((project / "outputs/demo/run.json").read_bytes())
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0 and "nothing is left to do" in ran.err, ran.err
    assert json.loads((project / "outputs/demo/run.json").read_bytes()) == record
    weights = project / "outputs/demo/adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused = box.run("infer", "--run", "demo", "--prompt", "Hello", cwd=project)
    assert refused.code == 76 and "inv train --run demo --resume" in refused.err, refused.err
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0 and "publishing them again" in ran.err and "bytes, not" in ran.err, ran.err
    assert weights_hash(project) == reference["lora-fp32"]
    assert json.loads((project / "outputs/demo/run.json").read_bytes()) == record
    # Killed between its last checkpoint and the end: what was trained is published, and no more.
    (project / "outputs/demo/run.json").write_text(json.dumps({**record, "state": "running"}))
    shutil.rmtree(project / "outputs/demo/adapter")
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0 and "publishing" in ran.err, ran.err
    assert weights_hash(project) == reference["lora-fp32"]
    again = json.loads((project / "outputs/demo/run.json").read_bytes())
    assert [again[key] for key in ("state", "steps", "last_loss")] == [
        "finished",
        record["steps"],
        record["last_loss"],
    ]


def _kill_until_done(
    box: Box, project: Path, variant: str, rounds: random.Random, seconds: float
) -> int:
    """SIGKILL at random moments, start again, until the run is finished; gives the number of kills
    that hit.
    """
    kills = 0
    while True:
        resume = ["--resume"] if (project / "outputs/demo/backend.json").exists() else []
        if not resume:
            shutil.rmtree(project / "outputs", ignore_errors=True)
        started = box.start("train", "--config", "demo.yaml", *_set(variant), *resume, cwd=project)
        if kills < 3:
            if (
                kills == 0
            ):  # one that is sure to hit the loop; the others hit imports, loading and saving too
                wait_for(project / "outputs/demo/attempts/01-bnb/progress.json")
            else:
                time.sleep(rounds.uniform(0.3, seconds))
            try:
                started.kill(signal.SIGKILL)
            except ProcessLookupError:
                pass
        ran = started.wait()
        if ran.code == 0:
            return kills
        assert ran.code == -signal.SIGKILL, ran.err
        kills += 1


@pytest.mark.parametrize("variant", ["lora-fp32", "qlora-fp32", "lora-bf16", "full-fp32"])
def test_killed_and_resumed_equals_uninterrupted(
    project: Path, box: Box, reference: dict[str, str], variant: str
) -> None:
    expected = reference[variant]
    assert _kill_until_done(box, project, variant, random.Random(variant), 3.0) > 0
    assert weights_hash(project) == expected


@pytest.mark.long
@pytest.mark.parametrize("variant", ["lora-fp32", "qlora-fp32", "lora-bf16"])
def test_fifty_kills(
    tokenized_project: Path, tmp_path: Path, box: Box, reference: dict[str, str], variant: str
) -> None:
    expected, rounds, kills, number = reference[variant], random.Random(variant), 0, 0
    while kills < 50:
        number += 1
        folder = tmp_path / str(number)
        shutil.copytree(tokenized_project, folder)
        kills += _kill_until_done(box, folder, variant, rounds, 4.0)
        assert weights_hash(folder) == expected, f"after {kills} kills"


def _logged(folder: Path) -> dict[int, list[str]]:
    """The numbers of each logged step, as train.log has them; without the speed."""
    found = {}
    log = (folder / "outputs/demo/attempts/01-bnb/train.log").read_text()
    for step, text in re.findall(rf"step (\d+)/{STEPS} (.*)", log):
        found.setdefault(int(step), []).append(text.partition(" tok/s")[0])
    return found


def test_a_style_that_the_answers_do_not_follow_is_said_before_training(
    project: Path, box: Box
) -> None:
    """Also where train runs the style stage itself: with the answers of three rows."""
    style = ["--set", "style.prompt=Answer like a pirate.", "--set", "train.max_steps=1"]
    ran = box.run("train", "--config", "demo.yaml", *style, cwd=project)
    assert ran.code == 0, ran.err
    before = ran.err[: ran.err.index("attempt 01-bnb")]
    warning = before[before.index("training teaches the model to ignore it") :]
    rows = (project / "data/processed/train.jsonl").read_text().splitlines()
    answers = [json.loads(row)["messages"][-1]["content"] for row in rows[:3]]
    assert all(repr(answer[:40])[:-1] in warning for answer in answers), warning


def test_a_resumed_run_logs_what_the_uninterrupted_one_does(project: Path, box: Box) -> None:
    """From a checkpoint inside a logging window: the window goes on, it does not start again."""
    values = ["logging_steps=5", "save_total_limit=9", "gradient_accumulation_steps=2"]
    argv = [word for value in values for word in ("--set", f"train.{value}")]
    ran = box.run("train", "--config", "demo.yaml", *argv, cwd=project)
    assert ran.code == 0, ran.err
    whole = _logged(project)
    assert {1, 5, 8} <= set(whole)
    run = project / "outputs" / "demo"
    for step in (4, 6, 8):
        (run / f"attempts/01-bnb/checkpoints/checkpoint-{step}/optimizer.pt").write_bytes(b"torn")
    shutil.rmtree(run / "adapter")
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0 and "resuming from checkpoint-2" in ran.err, ran.err
    for step in (5, 8):
        assert _logged(project)[step] == 2 * whole[step], step


def test_resume_with_more_steps_goes_on(project: Path, box: Box) -> None:
    assert (
        box.run("train", "--config", "demo.yaml", "--set", "train.max_steps=2", cwd=project).code
        == 0
    )
    before = json.loads((project / "outputs/demo/run.json").read_text())
    ran = box.run("train", "--run", "demo", "--resume", "--set", "train.max_steps=4", cwd=project)
    assert ran.code == 0, ran.err
    record = json.loads((project / "outputs/demo/run.json").read_text())
    assert record["steps"] == 4
    assert (
        record["first_loss"] == before["first_loss"] != record["last_loss"]
    )  # of the run, not of its last process


def _points(project: Path) -> dict[int, dict[str, float]]:
    """steps.jsonl by step: the last line of a step counts."""
    found: dict[int, dict[str, float]] = {}
    text = (project / "outputs/demo/attempts/01-bnb/steps.jsonl").read_text()
    for point in map(json.loads, text.splitlines()):
        kind = "looks" if "eval_loss" in point else "steps"
        found.setdefault(point["step"], {}).update({**point, kind: 1.0})
    return found


def test_a_resumed_run_goes_by_the_settings_of_its_new_start(project: Path, box: Box) -> None:
    """Learning rates of a schedule of eight steps, points, looks and checkpoints as asked for now; the
    best of all looks is published, and config.yaml says what was used.
    """
    first = {
        "max_steps": 4,
        "logging_steps": 2,
        "eval_steps": 2,
        "save_steps": 4,
        "warmup_steps": 0,
    }
    then = {"max_steps": 8, "logging_steps": 1, "eval_steps": "null", "save_steps": 3}
    argv = [word for pair in first.items() for word in ("--set", "train.{}={}".format(*pair))]
    assert box.run("train", "--config", "demo.yaml", *argv, cwd=project).code == 0
    argv = [word for pair in then.items() for word in ("--set", "train.{}={}".format(*pair))]
    ran = box.run("train", "--run", "demo", "--resume", *argv, cwd=project)
    assert ran.code == 0, ran.err
    points, run = _points(project), project / "outputs/demo"
    assert [step for step in points if "steps" in points[step]] == [1, 2, 4, 5, 6, 7, 8]
    for step in (5, 6, 7, 8):  # cosine, by its formula: the step before has been taken
        rate = 0.01 * 0.5 * (1 + math.cos(math.pi * (step - 1) / 8))
        assert points[step]["learning_rate"] == pytest.approx(rate)
    looks = {step: point["eval_loss"] for step, point in points.items() if "looks" in point}
    assert [*looks] == [2, 4, 8] and min(looks, key=looks.__getitem__) == 8
    assert "from checkpoint-8, the best val loss" in ran.err
    assert json.loads((run / "run.json").read_text())["val_loss"] == looks[8]
    assert (run / "attempts/01-bnb/checkpoints/checkpoint-6").is_dir()
    train = yaml.safe_load((run / "config.yaml").read_text())["train"]
    assert [train[key] for key in then] == [8, 1, None, 3]
    assert "train.max_steps 4 → 8" in ran.err and "train.eval_steps 2 → null" in ran.err


def test_init_adapter_starts_from_another_runs_weights(project: Path, box: Box) -> None:
    assert box.run("train", "--config", "demo.yaml", cwd=project).code == 0
    ran = box.run(
        "train",
        "--config",
        "demo.yaml",
        "--run",
        "second",
        "--init-adapter",
        "outputs/demo/adapter",
        "--set",
        "train.max_steps=1",
        cwd=project,
    )
    assert ran.code == 0, ran.err
    first, second = (
        json.loads((project / f"outputs/{name}/run.json").read_text())
        for name in ("demo", "second")
    )
    assert second["first_loss"] < first["first_loss"]
    words = ["train", "--config", "demo.yaml", "--run", "third", "--init-adapter"]
    for more, said in (
        (["--set", "lora.r=8"], "--set lora.r=4"),
        (["--set", "lora.alpha=16"], "--set lora.alpha=8"),
        (["--set", "lora.target_modules=[q_proj]"], "other modules"),
    ):
        ran = box.run(*words, "outputs/demo/adapter", *more, cwd=project)
        assert ran.code == 76 and said in ran.err, ran.err
    shutil.copytree(project / "outputs/demo/adapter", project / "torn")
    (project / "torn" / "manifest.json").unlink()
    (project / "torn" / "adapter_model.safetensors").write_bytes(b"x" * 50)
    ran = box.run(*words, "torn", cwd=project)
    assert ran.code == 76 and "can't be taken over" in ran.err, ran.err
    assert json.loads((project / "outputs/second/backend.json").read_text())["init_adapter"]


def test_what_the_command_says_is_what_is_trained(project: Path, box: Box) -> None:
    """A `--set` of train is for one command; what a data command was given is kept, printed and
    recorded.
    """
    import yaml

    (project / "one.jsonl").write_text(
        "".join(
            json.dumps({"user": f"One {i}?", "assistant": f"One {i}."}) + "\n" for i in range(40)
        )
    )
    short = ("--set", "train.max_steps=1")

    def trained(run: str, *more: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        ran = box.run("train", "--config", "demo.yaml", "--run", run, *short, *more, cwd=project)
        assert ran.code == 0, ran.err
        folder = project / "outputs" / run
        config = yaml.safe_load((folder / "config.yaml").read_text())
        return ran.err, config["data"], json.loads((folder / "data.json").read_text())

    said, config, data = trained("first", "--set", "data.raw=one.jsonl")
    assert config["raw"] == data["raw"] == "one.jsonl"
    assert data["stages"]["process"]["section"]["data.raw"] == "one.jsonl"
    refused = box.run(
        "train", "--config", "demo.yaml", "--run", "second", "--no-auto", *short, cwd=project
    )
    assert refused.code == 76 and "'one.jsonl' → 'data/raw'" in refused.err
    said, config, data = trained("second")
    assert "data.raw 'one.jsonl' → 'data/raw'" in said
    assert config["raw"] == data["raw"] == "data/raw"

    given = ("--set", "data.reasoning=strip")
    assert box.run("process", "--config", "demo.yaml", *given, cwd=project).code == 0
    said, config, data = trained("third")
    assert "--set data.reasoning=strip is kept from an earlier `inv process`" in said
    assert config["reasoning"] == "strip"
    assert data["stages"]["process"]["section"]["data.reasoning"] == "strip"
    said, config, data = trained("fourth", "--set", "data.reasoning=keep")
    assert "data.reasoning 'strip' → 'keep'" in said
    assert config["reasoning"] == "keep"


_BEHIND_THE_CONFIG = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "OMPI_COMM_WORLD_SIZE": "2",
    "PMI_SIZE": "2",
    "MASTER_ADDR": "203.0.113.1",
}


def test_variables_do_not_change_a_training_behind_its_config(project: Path, box: Box) -> None:
    ran = box.run("train", "--config", "demo.yaml", "--set", "train.precision=fp32", cwd=project)
    assert ran.code == 0, ran.err
    again = box.run(
        *("train", "--config", "demo.yaml", "--run", "again", "--set", "train.precision=fp32"),
        cwd=project,
        **_BEHIND_THE_CONFIG,
    )
    assert again.code == 0, again.err
    assert all(name in again.err for name in _BEHIND_THE_CONFIG)
    one, other = (
        (project / "outputs" / run / "adapter/adapter_model.safetensors").read_bytes()
        for run in ("demo", "again")
    )
    assert one == other


def test_a_torn_checkpoint_is_passed_over_for_the_newest_whole_one(
    project: Path, box: Box, reference: dict[str, str]
) -> None:
    assert box.run("train", "--config", "demo.yaml", cwd=project).code == 0
    run = project / "outputs" / "demo"
    torn = run / "attempts/01-bnb/checkpoints/checkpoint-8/optimizer.pt"
    torn.write_bytes(torn.read_bytes()[:100])
    shutil.rmtree(run / "adapter")
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0, ran.err
    assert "checkpoint-8 is not whole" in ran.err and "resuming from checkpoint-6" in ran.err
    assert (
        torn.parent.parent / "damaged-checkpoint-8" / "adapter_model.safetensors"
    ).is_file()  # nothing is thrown away
    assert weights_hash(project) == reference["lora-fp32"]
