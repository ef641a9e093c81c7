"""What the model tests share: a tiny random Llama with a real byte-level BPE tokenizer and a ChatML template, as a local folder.

It is the smallest thing that every stage takes for a model: two layers, loads in milliseconds, trains in seconds. torch is
imported inside the fixtures, once for the whole session.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.box import Box

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models of two layers: more threads only wait for each other

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CORPUS = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.",
    "How many clips did Natalia sell altogether in April and May? She sold 48 + 24 = 72 clips.",
    "system user assistant You are a helpful assistant. What is the capital of France? It is Paris.",
    "The quick brown fox jumps over the lazy dog. Grüße aus München, привет, 你好, こんにちは, 🦊.",
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local model folder: config.json, model.safetensors, generation_config.json, tokenizer files, chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    vocabulary = _save_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,  # far from uniform logits: the greedy choice survives other batch shapes
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _write_project(folder: Path, count: int, config: dict[str, Any]) -> Path:
    """A project folder with raw rows and demo.yaml."""
    (folder / "data" / "raw").mkdir(parents=True)
    chance = random.Random(5)
    rows = [
        {
            "user": f"How many clips are {i} and {i * 7}?" + " Please tell me." * chance.randint(0, 3),
            "assistant": f"She sold {i * 8} clips" + " in May" * chance.randint(0, 6) + ".",
        }
        for i in range(count)
    ]
    (folder / "data" / "raw" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "demo.yaml").write_text(yaml.safe_dump(config))
    return folder


def _run_stages(box: Box, folder: Path, *stages: str) -> None:
    for stage in stages:
        ran = box.run(stage, "--config", "demo.yaml", cwd=folder)
        assert ran.code == 0, ran.err


@pytest.fixture(scope="session")
def tokenized_project(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, box: Box) -> Path:
    """A project with tokenized data for the tiny model, and a short training in demo.yaml. Tests take `project`."""
    config = {
        "model": {"name": str(tiny_model), "max_length": 256},
        "data": {"val_share": 0.1, "test_share": 0.1},
        "train": {
            "method": "lora",
            "max_steps": 8,
            "save_steps": 2,
            "batch_size": 2,
            "learning_rate": 0.01,
            "logging_steps": 1,
            "precision": "fp32",
        },
        "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
    }
    folder = _write_project(tmp_path_factory.mktemp("tokenized") / "project", 60, config)
    _run_stages(box, folder, "process", "render", "tokenize")
    return folder


@pytest.fixture
def project(tokenized_project: Path, tmp_path: Path) -> Path:
    """A copy of the tokenized project."""
    shutil.copytree(tokenized_project, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture(scope="session")
def trained_project(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, box: Box) -> Path:
    """A project with data for the tiny model and a trained LoRA run, `demo`. Not to be changed: tests take `trained`."""
    config = {
        "model": {"name": str(tiny_model), "max_length": 256},
        "data": {"val_share": 0.15, "test_share": 0.1},
        "train": {"method": "lora", "max_steps": 20, "batch_size": 4, "learning_rate": 0.01, "precision": "fp32"},
        "lora": {"r": 4, "alpha": 8},
        "eval": {"max_new_tokens": 24},
        "infer": {"max_new_tokens": 24},
    }
    folder = _write_project(tmp_path_factory.mktemp("trained") / "project", 80, config)
    _run_stages(box, folder, "process", "train")
    return folder


@pytest.fixture
def trained(trained_project: Path, tmp_path: Path) -> Path:
    """A copy of the trained project."""
    shutil.copytree(trained_project, tmp_path / "project")
    return tmp_path / "project"


def _save_tokenizer(folder: Path) -> int:
    """Train a byte-level BPE tokenizer on CORPUS and save it with CHATML; gives the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=448,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return len(tokenizer)
