"""Broken model folders, judged by their files alone: each one by its own code, with names and
counts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sftplay.base_model import (
    check_base_model,
    require_base_model,
)
from sftplay.errors import ConfigError, NotFoundError, SftplayError, StorageError
from sftplay.settings import ModelSettings, Settings
from tests import broken

MODEL = ModelSettings()
Spoil = Callable[[Path], None]


def spoiled(model: Path, tmp_path: Path, spoil: Spoil) -> SftplayError:
    folder = broken.broken(model, tmp_path / "model", spoil)
    with pytest.raises(SftplayError) as raised:
        check_base_model(folder, MODEL)
    assert "model" in raised.value.where and raised.value.todo
    return raised.value


@pytest.mark.parametrize("spoil", [lambda folder: None, broken.shard])
def test_a_whole_model_is_accepted(tiny_model: Path, tmp_path: Path, spoil: Spoil) -> None:
    folder = broken.broken(tiny_model, tmp_path / "model", spoil)
    tensors = check_base_model(folder, MODEL)
    assert tensors["model.layers.1.mlp.up_proj.weight"].shape == (128, 64)
    assert require_base_model(Settings(model=ModelSettings(name=str(folder)))) == folder


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (broken.pickled, NotFoundError, "only pickle weights (pytorch_model.bin)"),
        (broken.lfs_pointer, NotFoundError, "Git LFS pointer"),
        (broken.cut_off, StorageError, "cut off"),
        (broken.index_gone, NotFoundError, "index of the weight files is missing"),
        (
            broken.shard_gone,
            NotFoundError,
            "1 of 2 weight files are missing, the first is model-00002-of-00002.safetensors",
        ),
        (lambda folder: (folder / broken.WEIGHTS).unlink(), NotFoundError, "no weights there"),
        (lambda folder: (folder / broken.WEIGHTS).write_bytes(b""), StorageError, "safetensors"),
    ],
)
def test_files_that_are_not_there_or_damaged(
    tiny_model: Path, tmp_path: Path, spoil: Spoil, kind: type[SftplayError], words: str
) -> None:
    problem = spoiled(tiny_model, tmp_path, spoil)
    assert type(problem) is kind
    assert words in problem.what


def test_a_tensor_of_the_index_that_no_file_holds(tiny_model: Path, tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        broken.shard(folder)
        for path in (folder / broken.INDEX,):
            path.write_text(path.read_text().replace("model.norm.weight", "model.nom.weight"))

    problem = spoiled(tiny_model, tmp_path, spoil)
    assert "1 of 20 tensors of the index are in no file, the first is model.nom" in problem.what


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (broken.rename(lambda n: f"module.{n}"), "each of the 20 names begins with `module.`"),
        (broken.rename(lambda n: f"base_model.model.{n}"), "as PEFT saves"),
        (broken.rename(lambda n: f"_orig_mod.{n}"), "as torch.compile saves"),
        (
            broken.rename(lambda n: None if "layers.1." in n else n),
            "config.json counts 2 layers, and 1 of them have no tensor: model.layers.1.*",
        ),
        (
            broken.configure(num_hidden_layers=5),
            "counts 5 layers, and 3 of them have no tensor: model.layers.2.*, model.layers.3.*",
        ),
        (
            broken.configure(num_hidden_layers=1),
            "there are more: model.layers.1.input_layernorm.weight",
        ),
        (broken.configure(vocab_size=512), "and config.json says vocab_size 512"),
        (broken.configure(tie_word_embeddings=False), "the output layer is missing"),
    ],
)
def test_weights_that_are_not_those_of_the_config(
    tiny_model: Path, tmp_path: Path, spoil: Spoil, words: str
) -> None:
    problem = spoiled(tiny_model, tmp_path, spoil)
    assert type(problem) is NotFoundError
    assert problem.what.startswith("these weights are not those of config.json")
    assert words in problem.what


def test_layers_for_multi_token_prediction_are_known(tiny_model: Path, tmp_path: Path) -> None:
    values = broken.configure(num_hidden_layers=1, num_nextn_predict_layers=1)
    check_base_model(broken.broken(tiny_model, tmp_path / "model", values), MODEL)


def test_extra_layers_can_be_left_out(tiny_model: Path, tmp_path: Path) -> None:
    folder = broken.broken(tiny_model, tmp_path / "m", broken.configure(num_hidden_layers=1))
    check_base_model(folder, ModelSettings(extra_weights="ignore"))


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "(gptq, 4 bit)"),
        ({"quant_method": "awq", "bits": 4}, "(awq, 4 bit)"),
        ({"quant_method": "fp8"}, "(fp8)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "(bitsandbytes, 4 bit)"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "(bitsandbytes, 8 bit)"),
    ],
)
def test_a_base_that_was_quantized(
    tiny_model: Path, tmp_path: Path, quantization: dict[str, object], words: str
) -> None:
    problem = spoiled(tiny_model, tmp_path, broken.configure(quantization_config=quantization))
    assert type(problem) is ConfigError
    assert words in problem.what and "name the model that it was made from" in problem.todo


def test_an_encoder_decoder_model(tiny_model: Path, tmp_path: Path) -> None:
    problem = spoiled(tiny_model, tmp_path, broken.configure(is_encoder_decoder=True))
    assert type(problem) is ConfigError and "decoder-only" in problem.todo


def test_an_adapter_instead_of_a_model(tiny_model: Path, tmp_path: Path) -> None:
    def spoil(folder: Path) -> None:
        (folder / broken.WEIGHTS).rename(folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text("{}")

    assert "--init-adapter" in spoiled(tiny_model, tmp_path, spoil).todo
