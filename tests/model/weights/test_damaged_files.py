"""Model folders with one damaged file: every reader of it fails in our words, or reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sftplay.base_model import check_base_model
from sftplay.data.rendering.probe import find_traits
from sftplay.data.rendering.template_choice import choose_template
from sftplay.data.tokenizing.tokenizer import load_backend, load_tokenizer, read_tokenizer
from sftplay.errors import DataError, SftplayError
from sftplay.host.estimate.model_shape import read_shape
from sftplay.input_limits import check_template, input_limits
from sftplay.model.weights.generation_config import end_ids, make_savable
from sftplay.model.weights.load import load_weights
from sftplay.settings import Settings
from tests.hostile import KINDS, replace

FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "model.safetensors",
    "model.safetensors.index.json",
)
SETTINGS = Settings.model_validate({"model": {"name": "./model"}})
NOT_HERE = ("a terabyte", "100 MB")  # the weights of a model are as large
# Values of the wrong type in the fields that something reads.
FIELDS: tuple[Mapping[str, Any], ...] = (
    {"added_tokens": {"a": 1}, "hidden_size": "x", "vocab_size": "many", "eos_token": [1],
     "added_tokens_decoder": [1], "extra_special_tokens": 3, "chat_template": {"a": 1},
     "eos_token_id": {"a": 1}, "num_hidden_layers": [2], "text_config": [1], "architectures": "x",
     "quantization_config": [1], "max_position_embeddings": "x"},
    {"model": None, "hidden_size": -5, "vocab_size": 10**30, "num_attention_heads": 0,
     "chat_template": 7, "added_tokens": [{"content": 5, "id": "x"}], "temperature": "hot",
     "rope_parameters": 3, "hidden_act": "nonsense", "dtype": "float99"},
    {"model_type": "nonsense", "tokenizer_class": "Nonsense", "model_max_length": "x",
     "padding_side": "up"},
    {"num_attention_heads": 3, "num_key_value_heads": 5, "pad_token_id": 10**9, "text_config": "x",
     "additional_special_tokens": [{"x": 1}], "added_tokens_decoder": {"a": {"content": "<x>"}}},
    {"eos_token": 5, "eos_token_id": "x", "do_sample": "maybe", "weight_map": [1]},
)  # fmt: skip


def load(folder: Path) -> None:
    model = load_weights(folder, SETTINGS, "cpu", "fp32")
    end_ids(model)
    make_savable(model)


READERS: tuple[Callable[[Path], object], ...] = (
    read_tokenizer,
    lambda folder: load_backend(folder).encode("hello world"),
    lambda folder: load_tokenizer(folder, None),
    lambda folder: find_traits(
        choose_template(SETTINGS.data, read_tokenizer(folder)), read_tokenizer(folder), None
    ),
    lambda folder: check_base_model(folder, SETTINGS.model),
    input_limits,
    check_template,
    lambda folder: read_shape(folder, "all-linear"),
    load,
)


def read_all(folder: Path) -> set[int]:
    """The exit codes of all readers; anything but an error of ours fails the test."""
    codes = set()
    for read in READERS:
        try:
            read(folder)
        except SftplayError as error:
            codes.add(error.code)
            assert error.what and (error.where or isinstance(error, DataError))
    return codes


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_whole_model_is_read(model: Path) -> None:
    assert read_all(model) == set()


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_ends_in_our_words(file: str, model: Path, tmp_path: Path) -> None:
    for kind in (kind for kind in (*KINDS, "half") if kind not in NOT_HERE):
        folder = Path(shutil.copytree(model, tmp_path / "damaged"))
        if file == "model.safetensors.index.json":
            (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        if kind == "half":
            content = (model / file).read_bytes() if (model / file).is_file() else b'{"a"'
            (folder / file).write_bytes(content[: len(content) // 2])
        else:
            replace(folder / file, kind)
        assert read_all(folder) <= {65, 66, 69, 74, 77, 78}, kind
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.endswith(".json") and "index" not in file]
)
def test_values_of_the_wrong_type_end_in_our_words(file: str, model: Path) -> None:
    there = json.loads((model / file).read_text()) if (model / file).is_file() else {}
    for values in FIELDS:
        (model / file).write_text(json.dumps({**there, **values}))
        assert read_all(model) <= {65, 66, 69, 74, 77, 78}, values
