"""Folders that others load: by transformers of today, by 4.57 and its PEFT, with equal logits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sftplay.host.system.uv import find_uv, uv_environ
from sftplay.model.weights.hub_files import add_older_keys, save_tokenizer
from tests.box import Box
from tests.model.random_models import random_model

# Loads a folder as its card says, and prints prompt ids and the last position's logits.
LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, kind = sys.argv[1:]
if kind == "adapter":
    from peft import AutoPeftModelForCausalLM as AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
messages = [{"role": "user", "content": "How many clips are 3 and 21? Grüße, 你好 🦊"}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
with torch.no_grad():
    logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
print(json.dumps({"ids": ids, "logits": logits.tolist(), "eos": tokenizer.eos_token,
                  "special": sorted(tokenizer.all_special_tokens)}))
"""
OLD = ("transformers==4.57.6", "peft==0.18.1", "torch==2.13.0", "jinja2")


def _load(python: Path | str, folder: Path, kind: str) -> dict[str, Any]:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    argv = [str(python), "-c", LOAD, str(folder), kind]
    done = subprocess.run(
        argv, cwd=folder.parent, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with transformers 4.57, from PyPI."""
    folder = tmp_path_factory.mktemp("old") / "env"
    env, options = uv_environ(os.environ)
    uv, python = str(find_uv()), folder / "bin" / "python"
    made = subprocess.run(
        [uv, "venv", "-q", "-p", sys.executable, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode == 0:
        made = subprocess.run(
            [uv, "pip", "install", "-q", "-p", str(python), *options, *OLD],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
    if made.returncode:
        pytest.skip(f"transformers 4.57 can't be installed here: {made.stderr.strip()[-300:]}")
    return python


@pytest.mark.long
def test_transformers_4_57_loads_adapter_and_merged_model(
    trained: Path, tiny_model: Path, box: Box, old_python: Path
) -> None:
    assert box.run("merge", "--run", "demo", "--dtype", "fp32", cwd=trained).code == 0
    run = trained / "outputs/demo"
    (run / tiny_model.name).symlink_to(tiny_model)  # where adapter_config.json looks for the base
    found = [
        _load(python, run / kind, kind)
        for python in (sys.executable, old_python)
        for kind in ("adapter", "merged")
    ]
    for one in found[1:]:
        assert one["ids"] == found[0]["ids"] and one["special"] == found[0]["special"]
        assert torch.allclose(
            torch.tensor(one["logits"]), torch.tensor(found[0]["logits"]), atol=1e-4
        )


@pytest.mark.long
def test_rotary_settings_reach_transformers_4_57(tmp_path: Path, old_python: Path) -> None:
    """It passes over the newer key, and would take its default frequency without a word."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import _save_tokenizer

    size = _save_tokenizer(tmp_path / "model")
    scaled = {"rope_type": "linear", "factor": 4.0, "rope_theta": 250_000.0}
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.2,
        rope_parameters=scaled,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    today = _load(sys.executable, tmp_path / "model", "model")
    save_tokenizer(AutoTokenizer.from_pretrained(tmp_path / "model"), tmp_path / "model")
    other = torch.tensor(_load(old_python, tmp_path / "model", "model")["logits"])
    assert not torch.allclose(other, torch.tensor(today["logits"]), atol=1e-2)
    add_older_keys(tmp_path / "model")
    for python in (sys.executable, old_python):
        found = torch.tensor(_load(python, tmp_path / "model", "model")["logits"])
        assert torch.allclose(found, torch.tensor(today["logits"]), atol=1e-4)


@pytest.mark.parametrize(
    "family", ["Llama", "Phi", "GPTNeoX", "Gemma3Text", "Qwen3_5Text", "GPT2", "Cohere"]
)
def test_todays_transformers_reads_the_same_config(family: str, tmp_path: Path) -> None:
    made = random_model(family)
    made.save_pretrained(tmp_path)
    before = AutoModelForCausalLM.from_pretrained(tmp_path).config.to_dict()
    add_older_keys(tmp_path)
    after = AutoModelForCausalLM.from_pretrained(tmp_path).config.to_dict()
    assert {key: after.get(key) for key in before} == before


def test_no_word_about_how_the_tokenizer_was_loaded(
    tiny_model: Path, tmp_path: Path, tokenizer_with: Callable[..., Any]
) -> None:
    tokenizer = tokenizer_with(tiny_model, ["<|tool|>"])
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["additional_special_tokens"] == ["<|tool|>"]
    assert not {"backend", "is_local", "local_files_only", "extra_special_tokens"} & {*config}
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert sorted(again.all_special_tokens) == sorted(tokenizer.all_special_tokens)
    assert again.get_vocab() == tokenizer.get_vocab()


@pytest.fixture
def tokenizer_with() -> Callable[..., Any]:
    """A model folder's tokenizer with more special tokens."""

    def load(folder: Path, tokens: list[str]) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens({"additional_special_tokens": tokens})
        return tokenizer

    return load
