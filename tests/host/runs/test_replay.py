"""Replay: what is refused, what is compared, and (long) a run that comes out the same to the byte."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sftplay.errors import MachineError, RefusedError
from sftplay.files import hash_file, write_json
from sftplay.host.runs import replay
from sftplay.host.system.machine import read_machine as look_at_machine
from sftplay.runs import Run
from sftplay.stamp import read_stamp
from tests.host.conftest import RunTask
from tests.host.runs.replayable import CONFIG, changed, flip


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda run: flip(run.template), "outputs/demo/chat_template.jinja"),
        (lambda run: run.template.unlink(), "outputs/demo/chat_template.jinja"),
        (lambda run: flip(Path("data/tokenized/train.arrow")), "data/tokenized/train.arrow"),
        (lambda run: flip(Path("data/tokenized/val.arrow")), "data/tokenized/val.arrow"),
        (lambda run: Path("data/tokenized/val.arrow").unlink(), "data/tokenized/val.arrow"),
        (lambda run: shutil.rmtree("data"), "data/tokenized"),
        (lambda run: flip(Path("model/model.safetensors")), "the model ./model"),
        (lambda run: shutil.rmtree("model"), "the model ./model"),
        (
            lambda run: run.config.write_text(CONFIG.replace("0.001", "0.002")),
            "outputs/demo/config.yaml, learning_rate",
        ),
        (lambda run: run.config.write_text("a: ["), "outputs/demo/config.yaml"),
    ],
)
def test_what_changed_is_refused_by_name(
    demo: Run, harm: Callable[[Run], object], what: str
) -> None:
    harm(demo)
    assert changed(demo) == [what]
    with pytest.raises(RefusedError, match="not what it was") as caught:
        replay.run("demo")
    assert caught.value.code == 76
    assert what in caught.value.what


def test_a_run_of_a_gpu_is_refused_here_with_that_list(demo: Run) -> None:
    if look_at_machine().has_gpu:
        pytest.skip("this machine has a GPU")
    from sftplay.stamp import write_stamp

    write_stamp(
        demo.stamp,
        read_stamp(demo.stamp).model_copy(update={"device": "cuda", "tuning_method": "qlora"}),
    )
    with pytest.raises(MachineError, match="what can't match") as caught:
        replay.run("demo")
    assert caught.value.code == 69


@pytest.mark.long  # three trainings, each with its imports
def test_a_run_comes_out_the_same_to_the_byte(
    checkout: Path, run_task: RunTask, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_hash = hash_file(checkout / "images/cpu/requirements.lock")
    folder = checkout / ".envs" / f"cpu-{lock_hash.removeprefix('sha256:')[:12]}"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin/python").chmod(0o755)
    write_json(folder / "sftplay.json", {"lock_hash": lock_hash, "environment_hash": "sha256:0"})
    monkeypatch.setenv("SFTPLAY_ENVS", str(checkout / ".envs"))
    (checkout / "data/raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(40)]
    (checkout / "data/raw/sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = [
        f"model.name={tiny_model}",
        "train.max_steps=6",
        "train.logging_steps=1",
        "train.batch_size=2",
        "data.val_share=0.2",
    ]
    done = run_task(
        "train", "--run", "real", *(word for value in values for word in ("--set", value))
    )
    assert done.returncode == 0, done.stderr

    done = run_task("replay", "real")
    assert done.returncode == 0, done.stderr
    assert "adapter_model.safetensors: the same bytes" in done.stderr
    assert "real came out the same to the byte" in done.stderr
    assert json.loads((checkout / "outputs/real-replay/replay.json").read_text())["same"] is True

    done = run_task("replay", "real", "--first", "3")
    assert done.returncode == 0, done.stderr
    assert "step 3: loss" in done.stderr and "in its losses" in done.stderr

    raw = checkout / "data/raw/sums.jsonl"
    raw.write_text(raw.read_text().replace("What is 7 ", "What is 8 "))
    done = run_task("replay", "real")
    assert done.returncode == 76 and "its input changed" in done.stderr, done.stderr
