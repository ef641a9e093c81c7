"""NEFTune: noise of the right size in training passes, and nowhere else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from sftplay.errors import ConfigError
from sftplay.model.forward.collate import Collator, Packer
from sftplay.model.training.noise import noisy_embeddings
from tests.box import Box
from tests.model.projects import make_plain_project
from tests.model.random_models import random_model
from tests.model.run_files import weights_hash

ALPHA, LENGTHS = 5.0, (7, 40, 13)


def _noise(collate: Any) -> tuple[torch.Tensor, int]:
    """Return what is added to the embeddings of a batch, and the size of an embedding."""
    model = random_model("Llama")
    rows = [{"input_ids": [1] * n, "labels": [1] * n} for n in LENGTHS]
    batch = collate(rows)
    layer = model.get_input_embeddings()
    with torch.no_grad(), noisy_embeddings(model, batch, ALPHA):
        noisy = layer(batch["input_ids"])
    with torch.no_grad():
        return noisy - layer(batch["input_ids"]), layer.embedding_dim


@pytest.mark.parametrize("packed", [False, True])
def test_each_row_gets_noise_by_its_own_length(packed: bool) -> None:
    """Uniform in ±alpha / sqrt(L·d): never beyond, close to both ends, with variance limit² / 3."""
    added, size = _noise(Packer() if packed else Collator(0))
    rows = (
        added[0].split(LENGTHS)
        if packed
        else [row[:n] for row, n in zip(added, LENGTHS, strict=True)]
    )
    for length, row in zip(LENGTHS, rows, strict=True):
        limit = ALPHA / (length * size) ** 0.5
        assert 0.9 * limit < float(row.abs().max()) <= limit * (1 + 1e-5)
        assert float(row.min()) < -0.9 * limit and float(row.max()) > 0.9 * limit
        assert float(row.var()) == pytest.approx(limit**2 / 3, rel=0.25)
    assert not torch.equal(rows[0], rows[1][: LENGTHS[0]])


def test_without_padding_it_is_what_transformers_adds() -> None:
    from transformers.integrations.neftune import neftune_post_forward_hook

    model = random_model("Llama")
    batch = Collator(0)([{"input_ids": [3] * 9, "labels": [3] * 9}] * 2)
    layer = model.get_input_embeddings()
    torch.manual_seed(3)
    with noisy_embeddings(model, batch, ALPHA):
        ours = layer(batch["input_ids"])
    layer.neftune_noise_alpha = ALPHA
    layer.register_forward_hook(neftune_post_forward_hook)
    torch.manual_seed(3)
    torch.testing.assert_close(ours, layer.train()(batch["input_ids"]))


def test_a_model_that_goes_around_its_embeddings_is_refused() -> None:
    model = random_model("Llama")
    batch = Collator(0)([{"input_ids": [3, 4], "labels": [3, 4]}])
    with (
        pytest.raises(ConfigError, match="nowhere to add noise"),
        noisy_embeddings(model, batch, ALPHA),
    ):
        pass


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, box: Box) -> Path:
    """A project with a run of single rows and much noise, `demo`."""
    folder = make_plain_project(
        box, tmp_path_factory.mktemp("noise") / "project", tiny_model, 12,
        train={
            "method": "lora", "precision": "fp32", "batch_size": 1, "max_steps": 4, "eval_steps": 1, "neftune_noise_alpha": 30,
        },
    )  # fmt: skip
    cache = tmp_path_factory.mktemp("cache")  # no proof of gradients is remembered there
    ran = box.run("train", "--config", "demo.yaml", cwd=folder, SFTPLAY_CACHE=str(cache))
    assert ran.code == 0, ran.err
    assert ran.err.count("NEFTune: noise of alpha") == 1
    return folder


def _history(project: Path) -> dict[int, dict[str, float]]:
    path = project / "outputs/demo/attempts/01-bnb/checkpoints/checkpoint-4/trainer_state.json"
    found: dict[int, dict[str, float]] = {}
    for point in json.loads(path.read_text())["log_history"]:
        found.setdefault(point["step"], {}).update(point)
    return found


def _plain(project: Path, tiny_model: Path, step: int) -> Any:
    """Return the model of a checkpoint by transformers and PEFT alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = project / f"outputs/demo/attempts/01-bnb/checkpoints/checkpoint-{step}"
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(folder))


def _losses(model: Any, project: Path, split: str, state: torch.Tensor | None) -> list[float]:
    """Return the mean loss of each row; with random state it is drawn from it anew for each."""
    from datasets import Dataset

    found = []
    for row in Dataset.from_file(str(project / f"data/tokenized/{split}.arrow")):
        if state is not None:
            torch.set_rng_state(state)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        found.append(float(cross_entropy(logits, torch.tensor(row["labels"][1:]))))
    return found


def test_a_step_has_the_loss_of_transformers_own_noise(noisy: Path, tiny_model: Path) -> None:
    """The oracle goes on from the checkpoint before it, with the random state stored there."""
    from transformers.integrations.neftune import neftune_post_forward_hook

    logged = _history(noisy)[3]["loss"]
    model = _plain(noisy, tiny_model, 2)
    folder = noisy / "outputs/demo/attempts/01-bnb/checkpoints/checkpoint-2"
    state = torch.load(folder / "rng_state.pth", weights_only=False)["cpu"]
    without = _losses(model, noisy, "train", None)
    layer = model.get_base_model().get_input_embeddings()
    layer.neftune_noise_alpha = 30
    layer.register_forward_hook(neftune_post_forward_hook)
    layer.train()
    within = _losses(model, noisy, "train", state)
    assert min(abs(loss - logged) for loss in within) < 1e-4
    assert min(abs(loss - logged) for loss in without) > 1e-3


def test_evaluations_and_the_proof_of_gradients_are_without_noise(
    noisy: Path, tiny_model: Path
) -> None:
    from datasets import Dataset

    for step in (1, 4):
        model = _plain(noisy, tiny_model, step)
        rows = Dataset.from_file(str(noisy / "data/tokenized/val.arrow"))
        counts = [sum(label != -100 for label in row["labels"][1:]) for row in rows]
        losses = _losses(model, noisy, "val", None)
        wanted = sum(a * b for a, b in zip(losses, counts, strict=True)) / sum(counts)
        assert _history(noisy)[step]["eval_loss"] == pytest.approx(wanted, rel=1e-5)
    proof = json.loads((noisy / "outputs/demo/run.json").read_text())["numerics"]
    assert proof["proved"] and "remembered" not in proof
    for when in ("before", "after"):
        assert proof[when]["loss"] == pytest.approx(proof[when]["plain_loss"], rel=1e-4)


def test_it_is_recorded_compared_and_guarded(noisy: Path, box: Box) -> None:
    run = noisy / "outputs/demo"
    assert "alpha 30" in json.loads((run / "run.json").read_text())["effective"]["neftune"]
    stamp = json.loads((run / "backend.json").read_text())
    assert stamp["optimization"]["neftune_noise_alpha"] == 30
    ran = box.run(
        "train", "--run", "demo", "--resume", "--set", "train.neftune_noise_alpha=5", cwd=noisy
    )
    assert ran.code == 76 and "neftune_noise_alpha" in ran.err, ran.err


def test_the_same_noise_again_and_after_a_stop(noisy: Path, box: Box) -> None:
    ran = box.run("train", "--config", "demo.yaml", "--run", "stopped", cwd=noisy)
    assert ran.code == 0, ran.err
    assert weights_hash(noisy, "stopped") == weights_hash(noisy)
    checkpoints = noisy / "outputs/stopped/attempts/01-bnb/checkpoints"
    for step in (3, 4):
        (checkpoints / f"checkpoint-{step}" / "manifest.json").unlink()
    shutil.rmtree(noisy / "outputs/stopped/adapter")
    ran = box.run("train", "--run", "stopped", "--resume", cwd=noisy)
    assert ran.code == 0 and "resuming from checkpoint-2" in ran.err, ran.err
    assert weights_hash(noisy, "stopped") == weights_hash(noisy)
