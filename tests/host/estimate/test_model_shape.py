from pathlib import Path

import pytest

from sftplay.errors import StorageError
from sftplay.host.estimate.model_shape import guess_shape, read_shape
from tests.host.estimate.project import BLOCK, CONFIG, write_model


def test_weights_and_linear_layers_are_read_from_the_header(tmp_path: Path) -> None:
    shape = read_shape(write_model(tmp_path, BLOCK, CONFIG), "all-linear")
    assert (shape.weights, shape.linear, shape.linear_ends) == (
        800 + 64 + 160 + 8 + 800,
        224,
        16 + 28,
    )
    assert (shape.layers, shape.hidden, shape.vocab, shape.exact) == (1, 8, 100, True)
    assert shape.adapted_ends == shape.linear_ends


def test_named_modules_narrow_what_is_adapted(tmp_path: Path) -> None:
    assert read_shape(write_model(tmp_path, BLOCK, CONFIG), ["q_proj"]).adapted_ends == 16


def test_a_model_with_a_picture_part_keeps_its_numbers_one_level_down(tmp_path: Path) -> None:
    shape = read_shape(
        write_model(tmp_path, BLOCK, {"text_config": {**CONFIG, "num_hidden_layers": 7}}),
        "all-linear",
    )
    assert shape.layers == 7


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, (9).to_bytes(8, "little") + b"{not json"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    write_model(tmp_path, BLOCK, CONFIG)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(StorageError, match=r"model\.safetensors"):
        read_shape(tmp_path, "all-linear")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("smollm2-135m-instruct", 135),
        ("Qwen/Qwen3-0.6B", 600),
        ("meta-llama/Llama-3.1-8B-Instruct", 8000),
    ],
)
def test_a_size_is_guessed_from_the_name(name: str, millions: int) -> None:
    shape = guess_shape(name)
    assert shape is not None and not shape.exact
    assert round(shape.weights / 1e6) == millions


def test_the_guess_is_near_the_truth_for_a_known_model() -> None:
    shape = guess_shape("Llama-3.1-8B")  # in truth 32 layers of 4096
    assert shape is not None
    assert 24 <= shape.layers <= 48 and 3000 <= shape.hidden <= 5000


def test_no_size_in_the_name_is_no_guess() -> None:
    assert guess_shape("openai-community/gpt2") is None


def test_fused_experts_are_not_quantized(tmp_path: Path) -> None:
    """transformers fuses them, and bitsandbytes leaves them: on disk they may be single ones."""
    experts = {
        f"model.layers.0.block_sparse_moe.experts.{number}.w1.weight": [20, 8]
        for number in range(4)
    }
    config = {**CONFIG, "num_local_experts": 4, "num_experts_per_tok": 1}
    shape = read_shape(write_model(tmp_path, {**BLOCK, **experts}, config), "all-linear")
    assert (shape.linear, shape.experts, shape.active) == (224, 640, 0.25)
    assert shape.quantized == pytest.approx(224 / 864)
