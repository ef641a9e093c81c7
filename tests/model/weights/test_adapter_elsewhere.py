"""An adapter that others can load: from a folder moved to another place, by PEFT and TRL alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from sftplay.model.training.checkpoints import ADAPTER_WEIGHTS
from sftplay.model.weights.vllm import vllm_line
from sftplay.places import DEFAULT_MODEL, PublishedBase, published_base
from sftplay.settings import Settings
from tests.box import Box
from tests.tiny import OTHER_ENDS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IDS = list(range(3, 40))
# By the hub's id, offline, from another folder: logits, and one more step with TRL.
ELSEWHERE = """
import json, sys, torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

model = AutoPeftModelForCausalLM.from_pretrained("moved", is_trainable=True)
with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor([json.loads(sys.argv[1])])).logits
rows = Dataset.from_list([{"prompt": "How many?", "completion": " Two clips."}] * 2)
arguments = SFTConfig(output_dir="out", max_steps=1, use_cpu=True, bf16=False, report_to="none", save_strategy="no")
tokenizer = AutoTokenizer.from_pretrained("moved")
SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer).train()
print(json.dumps(logits[0, -1].tolist()))
"""


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(input_ids=torch.tensor([IDS])).logits
    return logits


def test_auto_peft_loads_it_from_another_place(
    trained: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base from a local folder is named by that folder's name."""
    moved = tmp_path / "elsewhere" / "adapter"
    shutil.copytree(trained / "outputs/demo/adapter", moved)
    monkeypatch.chdir(tiny_model.parent)
    found = _logits(AutoPeftModelForCausalLM.from_pretrained(moved))
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert torch.equal(found, _logits(PeftModel.from_pretrained(base, moved)))
    assert not torch.allclose(found, _logits(AutoModelForCausalLM.from_pretrained(tiny_model)))


def test_what_lies_beside_it(trained: Path, tiny_model: Path) -> None:
    adapter = trained / "outputs/demo/adapter"
    for path in adapter.iterdir():
        if path.name != ADAPTER_WEIGHTS:
            assert str(tiny_model.parent) not in path.read_text(), path.name
    eot = AutoTokenizer.from_pretrained(adapter).convert_tokens_to_ids("<|im_end|>")
    assert eot in GenerationConfig.from_pretrained(adapter).eos_token_id
    template = (trained / "outputs/demo/chat_template.jinja").read_text()
    assert (adapter / "chat_template.jinja").read_text() == template
    card = ModelCard.load(adapter / "README.md")
    assert card.data.library_name == "peft" and card.data.pipeline_tag == "text-generation"
    assert card.data.base_model is None, "a folder's name is no id of the hub"
    for word in ("rank 4", "AutoPeftModelForCausalLM", f"`{tiny_model.name}`", "20"):
        assert word in card.text, word


def test_a_base_of_the_hub_is_named_by_id_and_revision(
    project: Path, tiny_model: Path, tmp_path: Path, box: Box
) -> None:
    snapshot = tmp_path / "hub/models--acme--tiny/snapshots" / COMMIT
    shutil.copytree(tiny_model, snapshot)
    (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    ran = box.run("train", "--config", "demo.yaml", "--set", f"model.name={snapshot}", cwd=project)
    assert ran.code == 0, ran.err
    moved = tmp_path / "there/moved"
    shutil.copytree(project / "outputs/demo/adapter", moved)
    config = json.loads((moved / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/tiny", COMMIT)
    card = ModelCard.load(moved / "README.md")
    assert card.data.base_model == "acme/tiny" and "base_model:adapter:acme/tiny" in card.data.tags
    named = card.data.to_dict()
    assert named["base_model_relation"] == "adapter" and named["license"] == "apache-2.0"
    assert f"vllm serve acme/tiny --revision {COMMIT} --enable-lora --max-lora-rank 8" in card.text
    env = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    argv = [sys.executable, "-c", ELSEWHERE, json.dumps(IDS)]
    done = subprocess.run(
        argv, cwd=moved.parent, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert torch.allclose(found, _logits(PeftModel.from_pretrained(base, moved))[0, -1], atol=1e-5)


@pytest.mark.long  # a training, and two processes that import everything: 25 s
def test_the_lines_of_a_card_end_where_the_run_does(
    project: Path, tiny_model: Path, box: Box
) -> None:
    """Template and end token of the run, not of its base: adapter and merged model."""
    (project / "ends.jinja").write_text(OTHER_ENDS)
    values = {"data.chat_template": "ends.jinja", "data.eot": "<|endoftext|>"}
    values |= {"train.max_steps": "40", "train.learning_rate": "0.02"}
    words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    for argv in (
        ("train", "--config", "demo.yaml", "--run", "ends", *words),
        ("merge", "--run", "ends", "--dtype", "fp32"),
    ):
        ran = box.run(*argv, cwd=project)
        assert ran.code == 0, ran.err
    ran = box.run("infer", "--run", "ends", "--prompt", "How many clips are 3 and 21?", cwd=project)
    assert ran.code == 0 and "cut off" not in ran.err, ran.err
    for name in ("adapter", "merged"):
        folder = project / "outputs/ends" / name
        (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        code = code.replace("FOLDER", str(folder)).replace("…", "How many clips are 3 and 21?")
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tiny_model.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == ran.out.strip(), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen/Qwen3-0.6B", PublishedBase("Qwen/Qwen3-0.6B")),
        ("/data/models/mine", PublishedBase("mine", on_hub=False)),
        (f"/c/models--a--b-c/snapshots/{COMMIT}", PublishedBase("a/b-c", COMMIT)),
    ],
)
def test_the_published_name(name: str, expected: PublishedBase) -> None:
    assert published_base(Settings.model_validate({"model": {"name": name}})) == expected


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"r": 4}, "--max-lora-rank 8 --lora-modules demo=FOLDER"),
        ({"r": 33, "dora": False}, "--max-lora-rank 64 "),
        ({"r": 16, "dora": True}, None),  # vLLM refuses it
    ],
)
def test_the_line_for_vllm(lora: dict[str, Any], words: str | None) -> None:
    line = vllm_line("demo", {"lora": lora}, PublishedBase("acme/tiny"), adapter=True)
    assert line is None if words is None else words in f"{line} "


def test_the_default_model_is_named_as_on_the_hub() -> None:
    base = published_base(Settings.model_validate({"model": {"name": DEFAULT_MODEL}}))
    assert base.name == "HuggingFaceTB/SmolLM2-135M-Instruct" and base.on_hub and base.note
