"""Every architecture next to plain transformers and PEFT: losses, the same bytes after a resume, the
loss of `eval`, the answers of `infer`, the logits of the merged model, and the adapter loaded from
another place.

Every step has all rows, so that the oracle needs no data order. Two families are everyday tests: one
without SDPA, one with a state instead of keys and values.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftplay.data.tokenizing.artifact import read_split
from tests.box import Box
from tests.model import plain_training
from tests.model.oracle import one_by_one
from tests.model.projects import RATE, STEPS, make_plain_project
from tests.model.random_models import FAMILIES, write_model
from tests.model.run_files import read_metrics

NEW = 12
EVERYDAY = ["GptOss", "Mamba"]
# What these families' kernels read directly: no gradient reaches an adapter there.
WITHOUT_ADAPTER = {
    "Mamba": ["dt_proj", "out_proj"],
    "FalconMamba": ["dt_proj", "out_proj"],
    "Mamba2": ["out_proj"],
    "FalconH1": ["out_proj"],
    "Jamba": ["dt_proj"],
}
PROMPTS = [
    "How many clips are 3 and 21?",
    "What is the capital?",
    "How many clips, and why? Tell me.",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, box: Box) -> Path:
    """A project with tokenized rows; every family has the same tokenizer."""
    folder = tmp_path_factory.mktemp("architectures") / "project"
    make_plain_project(
        box,
        folder,
        write_model("Llama", folder / "first"),
        count=18,
        train={"method": "lora", "precision": "fp32"},
        eval={"max_new_tokens": 4},
        infer={"max_new_tokens": NEW},
    )
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    return folder


def _run(box: Box, folder: Path, *argv: str) -> str:
    ran = box.run(*argv, cwd=folder)
    assert ran.code == 0, ran.err
    assert ".py:" not in ran.err, ran.err  # no source line on the screen
    return ran.err


def _val_loss(model: Any, rows: list[dict[str, Any]]) -> float:
    with torch.inference_mode():
        total, count = one_by_one(model, rows)
    return float(total) / count


def _answer(model: Any, tokenizer: Any, prompt: str) -> str:
    """What transformers' generate writes to one prompt alone."""
    turns = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = model.generate(
        **ids, max_new_tokens=NEW, do_sample=False, eos_token_id=2, pad_token_id=2
    )
    text: str = tokenizer.decode(made[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


@torch.inference_mode()
def _logits(model: Any) -> torch.Tensor:
    logits: torch.Tensor = model.eval()(input_ids=torch.arange(3, 40)[None], use_cache=False).logits
    return logits


def _check(family: str, home: Path, box: Box, tmp_path: Path, chdir: Any) -> None:
    folder, model = tmp_path / "project", write_model(family, tmp_path / "models" / family)
    shutil.copytree(home, folder)
    rows = read_split(folder / "data/tokenized/train.arrow").to_pylist()
    val = read_split(folder / "data/tokenized/val.arrow").to_pylist()
    start = plain_training.write_adapter(
        model, tmp_path / "start", exclude_modules=WITHOUT_ADAPTER.get(family)
    )
    oracle = plain_training.train(model, rows, "lora", "fp32", start, STEPS, RATE)
    words = ["--config", "demo.yaml", "--set", f"model.name={model}", "--set", f"train.batch_size={len(rows)}"]  # fmt: skip

    _run(box, folder, "train", *words, "--run", "whole", "--init-adapter", str(start))
    one = ["--init-adapter", str(start), "--set", "train.max_steps=1"]
    _run(box, folder, "train", *words, "--run", "parts", *one)
    _run(box, folder, "train", *words, "--run", "parts", "--resume")
    whole, parts = folder / "outputs/whole", folder / "outputs/parts"
    state = whole / f"attempts/01-bnb/checkpoints/checkpoint-{STEPS}/trainer_state.json"
    logged = [entry for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
    assert [entry["loss"] for entry in logged] == pytest.approx(oracle.losses, rel=5e-5)
    assert [entry["grad_norm"] for entry in logged] == pytest.approx(oracle.norms, rel=1e-3)
    weights = [run / "adapter/adapter_model.safetensors" for run in (whole, parts)]
    assert weights[0].read_bytes() == weights[1].read_bytes(), "resumed is not uninterrupted"
    tokens = [json.loads((run / "run.json").read_text())["tokens"] for run in (whole, parts)]
    assert tokens[0] == tokens[1] > 0

    tuned = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model), whole / "adapter"
    ).eval()
    _run(box, folder, "eval", "--run", "whole")
    loss = read_metrics(folder, run="whole")["metrics"]["loss"]
    assert loss["tuned"] == pytest.approx(_val_loss(tuned, val), rel=1e-5)
    assert loss["tuned"] != pytest.approx(loss["base"], rel=1e-3)

    tokenizer = AutoTokenizer.from_pretrained(whole / "adapter")
    _run(box, folder, "infer", "--run", "whole", "--input", "prompts.txt")
    lines = (whole / "predictions/prompts.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert answers == [_answer(tuned, tokenizer, prompt) for prompt in PROMPTS]

    expected = _logits(tuned)
    moved = tmp_path / "elsewhere/adapter"
    shutil.copytree(whole / "adapter", moved)
    chdir(model.parent)
    assert torch.equal(_logits(AutoPeftModelForCausalLM.from_pretrained(moved)), expected)
    _run(box, folder, "merge", "--run", "whole", "--dtype", "fp32")
    merged = AutoModelForCausalLM.from_pretrained(whole / "merged")
    assert torch.allclose(_logits(merged), expected, atol=1e-3)


@pytest.mark.parametrize("family", EVERYDAY)
def test_an_architecture_agrees_with_plain_transformers(
    family: str, home: Path, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check(family, home, box, tmp_path, monkeypatch.chdir)


@pytest.mark.long
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in EVERYDAY])
def test_every_architecture_agrees_with_plain_transformers(
    family: str, home: Path, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check(family, home, box, tmp_path, monkeypatch.chdir)
