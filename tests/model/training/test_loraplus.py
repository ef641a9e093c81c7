"""LoRA+: B learns at a multiple of A's learning rate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sftplay.model.training.loraplus import loraplus_optimizer, rates_of
from sftplay.settings import TrainSettings
from tests.box import Box
from tests.model import plain_training
from tests.model.projects import RATE, STEPS, make_plain_project
from tests.model.random_models import random_model
from tests.model.run_files import weights_hash

RATIO, DECAY = 8.0, 0.5


@pytest.fixture(scope="module")
def faster(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, box: Box) -> Path:
    """A project whose run `demo` trains all its rows in each step, with LoRA+."""
    folder = make_plain_project(
        box, tmp_path_factory.mktemp("loraplus") / "project", tiny_model, 6,
        train={"method": "lora", "precision": "fp32", "batch_size": 6, "loraplus_lr_ratio": RATIO, "weight_decay": DECAY},
        data={"val_share": 0.0, "test_share": 0.0},
    )  # fmt: skip
    plain_training.write_adapter(tiny_model, folder / "start")
    return _trained(box, folder, "demo")


def _trained(box: Box, folder: Path, run: str) -> Path:
    ran = box.run(
        "train", "--config", "demo.yaml", "--run", run, "--init-adapter", "start", cwd=folder
    )
    assert ran.code == 0, ran.err
    assert "LoRA+: learning rate 0.002 for" in ran.err and ", 0.016 for" in ran.err, ran.err
    return folder


def test_the_weights_are_those_of_two_rates_in_plain_pytorch(
    faster: Path, tiny_model: Path
) -> None:
    from datasets import Dataset

    rows = list(Dataset.from_file(str(faster / "data/tokenized/train.arrow")))
    found = load_file(faster / "outputs/demo/adapter/adapter_model.safetensors")
    oracle = plain_training.train(
        tiny_model, rows, "lora", "fp32", faster / "start", STEPS, RATE, RATIO, DECAY
    )
    assert len(found) == len(oracle.end)
    for name, weight in oracle.end.items():
        ours = found[name.replace(".default", "")]
        moved = (weight - oracle.start[name]).norm()
        assert (ours - weight).norm() < 0.01 * moved, name


def test_it_is_recorded_and_guarded(faster: Path, box: Box) -> None:
    run = faster / "outputs/demo"
    effective = json.loads((run / "run.json").read_text())["effective"]
    assert effective["loraplus"] == "peak learning rate 0.002 for A, 0.016 for B"
    ran = box.run("train", "--run", "demo", "--resume", "--set", "train.loraplus_lr_ratio=2", cwd=faster)  # fmt: skip
    assert ran.code == 76 and "loraplus_lr_ratio" in ran.err, ran.err


def test_a_resume_is_byte_equal(faster: Path, box: Box) -> None:
    _trained(box, faster, "stopped")
    for step in (2, 3):
        checkpoint = faster / f"outputs/stopped/attempts/01-bnb/checkpoints/checkpoint-{step}"
        (checkpoint / "manifest.json").unlink()
    shutil.rmtree(faster / "outputs/stopped/adapter")
    ran = box.run("train", "--run", "stopped", "--resume", cwd=faster)
    assert ran.code == 0 and "resuming from checkpoint-1" in ran.err, ran.err
    assert weights_hash(faster, "stopped") == weights_hash(faster)


def test_adapters_on_embeddings_have_a_rate_of_their_own() -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"])
    model = get_peft_model(random_model("Llama"), config)
    for given, rate in ((None, 1e-6), (3e-5, 3e-5)):
        train = TrainSettings(loraplus_lr_ratio=4, loraplus_lr_embedding=given)
        optimizer = loraplus_optimizer(model, torch.optim.AdamW, {"lr": 1e-3}, train)
        assert rates_of(optimizer).startswith(f"{rate:.6g} for 2 weights, 0.001 for ")
        assert all(group["params"] for group in optimizer.param_groups)


@pytest.mark.parametrize(
    "train",
    [
        {"method": "full", "loraplus_lr_ratio": 16},
        {"loraplus_lr_embedding": 1e-6},
        {"loraplus_lr_ratio": 0.5},
        {"loraplus_lr_ratio": 1001},
        {"neftune_noise_alpha": 0},
        {"neftune_noise_alpha": -5},
        {"neftune_noise_alpha": 1e9},
    ],
)
def test_what_can_not_be_is_refused(train: dict[str, object], tmp_path: Path, box: Box) -> None:
    (tmp_path / "demo.yaml").write_text(json.dumps({"train": train}))
    ran = box.run("train", "--config", "demo.yaml", cwd=tmp_path)
    assert ran.code == 78 and all(key in ran.err for key in train if key != "method"), ran.err
