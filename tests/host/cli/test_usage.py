"""Wrong command lines: code 2, and the wrong word with a suggestion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.conftest import RunTask


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["nope"], "nope"),
        (["train", "--nope"], "--nope"),
        (["infer-batch"], "input"),
        (["bench"], "WHAT"),
        (["--nope"], "--nope"),
        (["process", "--runner", "podman"], "podman"),
        (["style", "--mode", "sideways"], "sideways"),
        (["process", "--set", "nonsense"], "nonsense"),
        (["eval", "--samples", "many"], "many"),
        (["image.lock", "nope"], "nope"),
        (["tensorboard", "--port", "http"], "http"),
        (["tensorboard", "--port", "65536"], "65536"),
        (["trackio", "--port", "0"], "a port is 1 to 65535"),
        (["eval", "--tasks", ""], "--tasks is empty"),
        (["train", "--config="], "--config is empty"),
        (["eval", "--set", ""], "--set is empty"),
        (["logs", ""], "a word of the command is empty"),
    ],
)
def test_a_wrong_command_line_is_2_and_names_the_word(
    argv: list[str], word: str, run_task: RunTask
) -> None:
    end = run_task(*argv)
    assert end.returncode == 2, end.stderr
    assert word in end.stderr
    assert "Traceback" not in end.stderr


@pytest.mark.parametrize(
    ("task", "option"), [("bench nope", "--args="), ("batch --file=nope", "--submit=")]
)
def test_an_option_that_is_empty_by_default_may_be_left_out_or_empty(
    task: str, option: str, run_task: RunTask
) -> None:
    for argv in (task.split(), [*task.split(), option]):
        end = run_task(*argv)
        assert end.returncode != 2 and "is empty" not in end.stderr, end.stderr


def test_a_word_after_a_task_is_a_run_or_nothing(run_task: RunTask, checkout: Path) -> None:
    (checkout / "outputs/mine").mkdir(parents=True)
    for argv, said, todo in (
        (["infer", "mine"], "inv infer takes a run as an option", "inv infer --run mine"),
        (["trackio", "extra"], "inv trackio takes no word extra", "inv trackio --help"),
        (["doctor", "mine"], "inv doctor takes no word mine", "inv doctor --help"),
    ):
        end = run_task(*argv)
        first, second = end.stderr.splitlines()
        assert (end.returncode, first) == (2, f"✗ {said}")
        assert second.startswith(f"· next: {todo}"), second


@pytest.mark.parametrize(
    ("argv", "said", "todo"),
    [
        (["proces"], "there is no task proces", "did you mean: inv process?"),
        (["compare"], "there is no task compare", "did you mean: inv runs.compare?"),
        (["zzz"], "there is no task zzz", "inv --list names the tasks"),
        (
            ["train", "--stepps", "3"],
            "inv train has no option --stepps",
            "did you mean --set train.",
        ),
        (
            ["train", "--max-steps", "3"],
            "inv train has no option --max-steps",
            "did you mean --set train.max_steps=…?",
        ),
        (["eval", "--sampels=3"], "inv eval has no option --sampels", "did you mean --samples?"),
        (["status", "--json"], "inv status has no option --json", "inv status --help"),
        (["runs.show"], "inv runs.show requires RUN", "inv runs.show RUN"),
        (["infer-batch"], "inv infer-batch requires --input", "inv infer-batch --input …"),
        (["eval", "--samples"], "inv eval --samples requires a value", "inv eval --help"),
        (["--help", "proces"], "there is no task proces", "did you mean: inv process?"),
    ],
)
def test_a_wrong_word_is_said_in_our_words_by_inv_and_by_tasks_py(
    argv: list[str], said: str, todo: str, run_task: RunTask, checkout: Path
) -> None:
    env = {**os.environ, "NO_COLOR": "1"}
    plain = [sys.executable, "-m", "invoke", *argv]
    inv = subprocess.run(plain, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    for end in (inv, run_task(*argv)):
        assert end.returncode == 2, end.stderr
        first, second = end.stderr.splitlines()
        assert first == f"✗ {said}"
        assert second.startswith("· next: ")
        assert todo in second
