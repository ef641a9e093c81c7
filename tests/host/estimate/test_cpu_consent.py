from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.host.conftest import RunTask
from tests.host.estimate.project import write_model


@pytest.fixture
def big(checkout: Path) -> Path:
    """A model whose files say that it is large, and rows for a long training."""
    folder = checkout / "models" / "big"
    folder.mkdir(parents=True)
    sizes = {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "vocab_size": 128256,
    }
    heads = {"num_attention_heads": 64, "num_key_value_heads": 8, "model_type": "llama"}
    tensors = {
        f"model.layers.{layer}.mlp.{name}_proj.weight": [28672, 8192]
        for layer in range(80)
        for name in ("up", "gate")
    }
    tensors["model.embed_tokens.weight"] = [128256, 8192]
    write_model(folder, tensors, {**sizes, **heads})
    (checkout / "data" / "raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(2000)]
    (checkout / "data" / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_days_on_a_cpu_want_a_word(
    big: Path, checkout: Path, cpu_env: Path, run_task: RunTask
) -> None:
    days = ["--set", "model.name=./models/big", "--set", "train.epochs=1000"]
    end = run_task("train", *days, env={"SFTPLAY_ENVS": str(cpu_env)})
    assert end.returncode == 69, end.stderr
    assert "CPU" in end.stderr
    assert "--device cpu" in end.stderr
    assert not (checkout / "outputs").exists()


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_a_person_who_means_the_cpu_is_not_asked(
    big: Path, cpu_env: Path, run_task: RunTask
) -> None:
    end = run_task(
        *(
            "train",
            "--device",
            "cpu",
            "--no-auto",
            "--set",
            "model.name=./models/big",
            "--set",
            "train.epochs=1000",
        ),
        env={"SFTPLAY_ENVS": str(cpu_env)},
    )
    assert end.returncode == 76, end.stderr  # the stage itself, which may not make the data
