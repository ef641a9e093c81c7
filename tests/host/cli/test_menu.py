from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.conftest import CHECKOUT, RunTask

NAMES = [
    *("help", "init", "doctor", "install", "setup-dirs", "clean", "check"),
    *("process", "style", "render", "full-pipeline", "tokenize", "fetch"),
    *("train", "train-bnb", "train-bnb-tb", "train-unsloth", "train-unsloth-tb"),
    *("eval", "eval-test", "eval-quick", "eval-full"),
    *("infer", "infer-interactive", "infer-batch", "merge"),
    *(
        "tensorboard",
        "stop-tb",
        "ps",
        "stop",
        "quickstart",
        "test",
        "lint",
        "docs",
        "bench",
        "parity",
    ),
    *("config.schema", "config.show", "data.preview", "data.show"),
    *("image.build", "image.check", "image.verify", "image.push", "image.pull"),
    *("image.ls", "image.prune", "image.sbom", "image.lock"),
    *(
        "runs.list",
        "runs.show",
        "runs.compare",
        "runs.rm",
        "status",
        "logs",
        "report",
        "replay",
        "batch",
    ),
]


def test_the_menu_holds_these_names(run_task: RunTask) -> None:
    listed = re.findall(r"^  ([a-z][a-z.-]+)", run_task("--list").stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted(NAMES)


def test_plain_inv_lists_the_same(checkout: Path) -> None:
    inv = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = re.findall(r"^  ([a-z][a-z.-]+)", inv.stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted(NAMES)


def test_help_leads_through_every_task(run_task: RunTask) -> None:
    text = run_task("help").stdout
    for name in NAMES:
        if "." not in name:
            assert re.search(rf"^  {name} +\S", text, flags=re.MULTILINE), name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "help"])
def test_every_option_of_every_task_is_explained(name: str) -> None:
    sys.path.insert(0, str(CHECKOUT))
    import tasks

    for argument in tasks.namespace[name].get_arguments():
        assert argument.help, f"{name} --{argument.name}"


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
    ("argv", "said", "todo"),
    [
        (["proces"], "there is no task proces", "did you mean: inv process?"),
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


@pytest.mark.parametrize(
    ("argv", "code", "word"),
    [
        (["process", "--config", "nope.yaml"], 66, "nope.yaml"),
        (["process", "--set", "train.learning_rat=1"], 78, "learning_rate"),
        (["train", "--run", "a/b"], 78, "--run a/b: lower-case letters"),
        (["process", "--runner", "docker"], 69, "no container engine answers"),
        (["train", "--device", "cuda", "--set", "model.name=./x"], 69, "NVIDIA"),
        (["train", "--resume", "--run", "never", "--set", "model.name=./x"], 66, "never"),
    ],
)
@pytest.mark.usefixtures("cpu_env")
def test_what_can_be_known_beforehand_ends_before_anything_is_written(
    argv: list[str], code: int, word: str, run_task: RunTask, checkout: Path, cpu_env: Path
) -> None:
    if "cuda" in argv and Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    end = run_task(*argv, env={"SFTPLAY_ENVS": str(cpu_env)})
    assert end.returncode == code, end.stderr
    assert word in end.stderr
    assert "Traceback" not in end.stderr
    assert not (checkout / "outputs").exists()


def test_config_mistakes_come_all_at_once(run_task: RunTask) -> None:
    end = run_task(
        "process", "--set", "train.epochs=-1", "--set", "modle.name=x", "--set", "lora.r=big"
    )
    assert end.returncode == 78
    for key in ("train.epochs", "modle", "lora.r"):
        assert key in end.stderr


def test_set_may_be_repeated_and_reaches_the_config(run_task: RunTask) -> None:
    end = run_task(
        "config.show",
        "--config",
        "configs/run_bnb.yaml",
        "--set",
        "lora.r=3",
        "--set",
        "train.seed=7",
    )
    assert re.search(r"^ +r: 3\b", end.stdout, flags=re.MULTILINE)
    assert re.search(r"^ +seed: 7\b", end.stdout, flags=re.MULTILINE)


def test_a_stage_passes_its_code_on(run_task: RunTask, cpu_env: Path) -> None:
    end = run_task(
        "process", env={"SFTPLAY_ENVS": str(cpu_env)}
    )  # there is no data/raw in this checkout
    assert end.returncode in (65, 66), end.stderr
    assert "data/raw" in end.stderr
    assert "cpu stack" in end.stderr


def test_paths_are_meant_from_where_the_person_stands(run_task: RunTask, checkout: Path) -> None:
    folder = checkout / "configs" / "mine"
    folder.mkdir()
    (folder / "my.yaml").write_text("lora: {r: 5}\n")
    end = run_task("config.show", "--config", "my.yaml", cwd=folder)
    assert re.search(r"^ +r: 5\b", end.stdout, flags=re.MULTILINE), end.stderr
    end = run_task("config.show", "--config", "configs/run_bnb.yaml", cwd=folder)
    assert end.returncode == 0, end.stderr


def test_a_closed_pipe_is_no_traceback(checkout: Path) -> None:
    command = f"{sys.executable} -m sftplay.host.cli --list | true; exit ${{PIPESTATUS[0]}}"
    end = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in end.stderr
    assert end.returncode in (0, 141)
