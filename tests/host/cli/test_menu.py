from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.conftest import CHECKOUT, RunTask

NAMES = [
    *("launch.slurm", "launch.k8s", "launch.sky", "ray.agent"),
    *("gpu.accept", "gpu.compare"),
    *("help", "init", "doctor", "install", "setup-dirs", "clean", "check"),
    *("process", "style", "render", "full-pipeline", "tokenize", "fetch"),
    *("train", "train-bnb", "train-bnb-tb", "train-unsloth", "train-unsloth-tb"),
    *("eval", "eval-test", "eval-quick", "eval-full"),
    *(
        "infer",
        "infer-interactive",
        "infer-batch",
        "serve",
        "stop-serve",
        "merge",
        "export",
        "push",
    ),
    *(
        "tensorboard",
        "stop-tb",
        "trackio",
        "stop-trackio",
        "ps",
        "stop",
        "quickstart",
        "test",
        "lint",
        "audit",
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
    listed = re.findall(r"^  ([a-z][a-z0-9.-]+)", run_task("--list").stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted(NAMES)


def test_plain_inv_lists_the_same(checkout: Path) -> None:
    inv = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = re.findall(r"^  ([a-z][a-z0-9.-]+)", inv.stdout, flags=re.MULTILINE)
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
