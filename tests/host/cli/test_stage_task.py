"""Tasks of stages: options reach the config, and exit codes come back."""

from __future__ import annotations

import re
from pathlib import Path

from tests.host.conftest import RunTask


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


def test_a_missing_gguf_file_is_named_before_an_environment_is_made(
    run_task: RunTask, checkout: Path
) -> None:
    run = checkout / "outputs/demo"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("{}\n")
    for words, said in (
        (["--gguf=none.gguf"], "configs/none.gguf: no such file"),
        (["--gguf"], "no GGUF file"),
    ):
        argv = ["infer", "--run", "demo", *words, "--prompt", "a"]
        end = run_task(*argv, cwd=checkout / "configs", env={"SFTPLAY_ENVS": str(run / "envs")})
        assert end.returncode == 66 and said in end.stderr, end.stderr
        assert "inv export --run demo" in end.stderr and not (run / "envs").exists()
