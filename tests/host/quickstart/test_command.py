"""The guided run through the real menu: with and without a terminal, to its end, and where it has
to stop.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sftplay.host.quickstart.result_check import SAMPLE_LOSS
from tests.host.conftest import NO_ENGINE, RunTask

pytestmark = pytest.mark.usefixtures("environment")


def at_a_terminal(
    checkout: Path, answers: dict[str, str], *argv: str, colour: bool = False
) -> tuple[int, str]:
    """Run quickstart with a terminal and answer each question (a part of its text) once; exit code
    and screen.
    """
    ours, theirs = pty.openpty()
    env = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "TERM": "xterm",
        "COLUMNS": "120",
        "DOCKER_HOST": NO_ENGINE,
    }
    env |= {} if colour else {"NO_COLOR": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", "sftplay.host.cli", "quickstart", *argv],
        cwd=checkout, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    screen, left, deadline = "", dict(answers), time.monotonic() + 240
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.5)[0]:
            try:
                screen += os.read(ours, 65536).decode(errors="replace")
            except OSError:
                break  # the other end is closed: it has ended
            for question in [q for q in left if q in screen]:
                os.write(ours, left.pop(question).encode() + b"\n")
    os.close(ours)
    assert not left, f"never asked: {left}\n{screen}"
    return child.wait(timeout=10), screen


def test_without_a_terminal_it_asks_nothing_and_ends_with_a_tuned_model(
    checkout: Path, run_task: RunTask, tiny_model: Path
) -> None:
    values = [
        f"model.name={tiny_model}",
        "train.max_steps=3",
        "train.method=lora",
        "eval.samples=2",
    ]
    argv = [
        "quickstart",
        *(word for value in [*values, "eval.max_new_tokens=8"] for word in ("--set", value)),
    ]
    done = run_task(*argv)
    assert done.returncode == 0, done.stderr
    assert "?" not in [line[0] for line in done.stderr.splitlines() if line]
    assert (checkout / "outputs/quickstart/adapter/manifest.json").is_file()
    assert (
        "240 sample rows" in done.stderr and "inv infer-interactive --run quickstart" in done.stderr
    )
    assert re.search(r"^before ", done.stdout, re.MULTILINE) and re.search(
        r"^after ", done.stdout, re.MULTILINE
    )
    for command in ("process", "render", "train", "eval"):
        assert f"inv {command} --config configs/quickstart.yaml --set model.name=" in done.stderr

    again = run_task(*argv)  # nothing has changed: nothing is trained, the answers are shown again
    assert again.returncode == 0, again.stderr
    assert (
        "has been trained on just this data" in again.stderr and "evaluated already" in again.stderr
    )
    assert again.stdout == done.stdout[done.stdout.index("\nprompt ") :]
    assert [path.name for path in (checkout / "outputs").glob("quick*")] == ["quickstart"]


def test_bad_data_stops_it_with_its_code_and_what_to_do(checkout: Path, run_task: RunTask) -> None:
    (checkout / "data/raw").mkdir(parents=True)
    (checkout / "data/raw/mine.jsonl").write_text('{"user": "a question without an answer"}\n')
    done = run_task("quickstart", "--yes")
    assert done.returncode == 65
    assert (
        "data/raw/mine.jsonl" in done.stderr
        and "quickstart ends here: process ended with 65" in done.stderr
    )
    assert not (checkout / "data/raw/sample.jsonl").exists()


def test_a_wrong_config_is_refused_before_anything_is_made(
    checkout: Path, run_task: RunTask
) -> None:
    done = run_task("quickstart", "--set", "train.stepz=3")
    assert done.returncode == 78 and "train.stepz" in done.stderr
    assert not (checkout / "data").exists()


def test_at_a_terminal_it_asks_about_style_and_render(checkout: Path) -> None:
    questions = {"Style prompt": "Answer like a pirate.", "Do it now?": "n"}
    code, screen = at_a_terminal(checkout, questions, "--set", "model.name=./nowhere")
    assert code == 66, screen  # train needs the model; the steps before it do not
    styled = (checkout / "data/processed_with_style/train.jsonl").read_text().splitlines()
    assert json.loads(styled[0])["messages"][0] == {
        "role": "system",
        "content": "Answer like a pirate.",
    }
    assert "inv style" in screen and "\x1b[3" not in screen

    questions = {"Enter keeps “Answer like a pirate.”": "-", "── 6/8": ""}
    code, screen = at_a_terminal(checkout, questions, "--set", "model.name=./nowhere", colour=True)
    assert code == 66 and "no style prompt" in screen and "--no-style" in screen
    assert all(f"\x1b[1;{color}m" in screen for color in (34, 32, 31))  # blue, green, red


@pytest.mark.acceptance
@pytest.mark.parametrize("changed", ["train.method=auto", "train.method=qlora"])
def test_the_defaults_teach_the_real_model_the_samples_voice(
    changed: str, checkout: Path, run_task: RunTask
) -> None:
    """As it is, and with the 4-bit base that processors with bf16 instructions once learned
    nothing on.
    """
    done = run_task("quickstart", "--yes", "--set", changed)
    assert done.returncode == 0, done.stderr
    record = json.loads((checkout / "outputs/quickstart/run.json").read_text())
    assert record["val_loss"] < SAMPLE_LOSS
    assert "learned less" not in done.stderr and "hardly better" not in done.stderr
    answers = re.split(r"^after ", done.stdout, flags=re.MULTILINE)[1:]
    assert len(answers) == 3
    assert all(answer.strip().startswith("Pip here!") for answer in answers)
