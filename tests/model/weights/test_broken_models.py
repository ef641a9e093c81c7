"""Models that can't be trained as they are, through the real stages: one code, names and counts,
and nothing trained or answered with random weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import broken
from tests.box import Box, Ran

Spoil = Callable[[Path], None]


def train(box: Box, project: Path, model: Path, *more: str) -> Ran:
    return box.run(
        "train", "--config", "demo.yaml", "--set", f"model.name={model}", "--set",
        "train.max_steps=2", *more, cwd=project,
    )  # fmt: skip


def ask(box: Box, project: Path, model: Path) -> Ran:
    return box.run(
        "infer", "--config", "demo.yaml", "--set", f"model.name={model}", "--set",
        "infer.max_new_tokens=2", "--prompt", "Hi", "--base", cwd=project,
    )  # fmt: skip


def family(kind: str, tiny_model: Path, folder: Path, **config: Any) -> Path:
    """A random model of another class, with the tiny model's tokenizer."""
    import torch
    import transformers

    shutil.copytree(tiny_model, folder)
    torch.manual_seed(1)
    settings = {"vocab_size": 448, "pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    configuration = getattr(
        transformers, f"{kind.split('For', maxsplit=1)[0].removesuffix('LMHeadModel')}Config"
    )
    made = getattr(transformers, kind)(configuration(**{**settings, **config}))
    made.save_pretrained(folder)
    return folder


# What the files alone can't tell: found by the load itself.
LOADED: list[tuple[str, Spoil, int, str]] = [
    (
        "one tensor gone",
        broken.rename(lambda n: None if n.endswith("layers.1.mlp.up_proj.weight") else n),
        66,
        "1 tensor missing (model.layers.1.mlp.up_proj.weight)",
    ),
    (
        "a tensor without a place",
        broken.rename(lambda n: n.replace("up_proj", "up") if "layers.0" in n else n),
        66,
        "1 tensor missing (model.layers.0.mlp.up_proj.weight); 1 tensor without a place in "
        "LlamaForCausalLM (model.layers.0.mlp.up.weight)",
    ),
    (
        "another width",
        broken.configure(intermediate_size=96),
        66,
        "6 tensors of another shape (model.layers.0.mlp.down_proj.weight is (64, 128), and the "
        "config says (64, 96))",
    ),
    ("no numbers", broken.not_a_number, 80, "numbers that are not finite"),
    (
        "an unknown architecture",
        broken.configure(model_type="brandnew9", architectures=["BrandNew9ForCausalLM"]),
        66,
        "does not know the architecture 'brandnew9'",
    ),
    (
        "its own code",
        broken.configure(model_type="mine", auto_map={"AutoConfig": "configuration_x.XConfig"}),
        66,
        "needs Python code of its own",
    ),
    ("impossible numbers", broken.configure(num_attention_heads=7, head_dim=None), 66, "loaded"),
]


@pytest.mark.parametrize(
    ("spoil", "code", "words"), [row[1:] for row in LOADED], ids=[row[0] for row in LOADED]
)
def test_refused_when_it_is_loaded(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path, spoil: Spoil, code: int, words: str
) -> None:
    model = broken.broken(tiny_model, tmp_path / "model", spoil)
    for ran in (train(box, project, model), ask(box, project, model)):
        assert ran.code == code, ran.err
        assert words in ran.err
        assert "next: " in ran.err or words == "loaded"
    assert not (project / "outputs/demo/backend.json").exists()


@pytest.mark.parametrize("spoil", [broken.lfs_pointer, broken.shard_gone])
def test_refused_before_any_work_on_the_data(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path, spoil: Spoil
) -> None:
    model = broken.broken(tiny_model, tmp_path / "model", spoil)
    shutil.rmtree(project / "data/tokenized")
    ran = train(box, project, model)
    assert ran.code == 66, ran.err
    assert not (project / "data/tokenized").exists()


def test_extra_tensors_are_left_out_where_asked_and_listed(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path
) -> None:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        state = load_file(folder / broken.WEIGHTS)
        state["v_head.summary.weight"] = state["model.norm.weight"].clone()
        save_file(state, folder / broken.WEIGHTS, metadata={"format": "pt"})

    model = broken.broken(tiny_model, tmp_path / "model", spoil)
    refused = ask(box, project, model)
    assert refused.code == 66
    assert "1 tensor without a place in LlamaForCausalLM (v_head.summary.weight)" in refused.err
    assert "--set model.extra_weights=ignore" in refused.err
    ran = train(box, project, model, "--set", "model.extra_weights=ignore")
    assert ran.code == 0, ran.err
    assert "left out" in ran.err and "v_head.summary.weight" in ran.err


def test_an_encoder_is_refused_by_what_it_computes(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path
) -> None:
    model = family(
        "BertForMaskedLM", tiny_model, tmp_path / "bert", hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=48, max_position_embeddings=512,
        initializer_range=0.2,
    )  # fmt: skip
    for ran in (train(box, project, model), ask(box, project, model)):
        assert ran.code == 78, ran.err
        assert "a later token changes an earlier output" in ran.err


def test_an_encoder_decoder_model_is_refused(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path
) -> None:
    sizes = {
        f"{part}_{key}": value
        for part in ("encoder", "decoder")
        for key, value in (("layers", 1), ("ffn_dim", 48), ("attention_heads", 4))
    }
    model = family(
        "BartForConditionalGeneration", tiny_model, tmp_path / "bart", d_model=32, **sizes
    )
    for ran in (train(box, project, model), ask(box, project, model)):
        assert ran.code == 78, ran.err
        assert "BartForConditionalGeneration" in ran.err


def test_eval_and_merge_refuse_a_base_that_has_lost_a_tensor(
    trained: Path, box: Box, tiny_model: Path, tmp_path: Path
) -> None:
    """The run's stamp holds the base's fingerprint: it is refused before, by that."""
    spoil = broken.rename(lambda n: None if n.endswith("layers.1.mlp.up_proj.weight") else n)
    model = broken.broken(tiny_model, tmp_path / "model", spoil)
    for stage in ("eval", "merge"):
        ran = box.run(stage, "--config", "demo.yaml", "--set", f"model.name={model}", cwd=trained)
        assert ran.code == 76, ran.err


def test_tokens_beyond_the_embedding(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path
) -> None:
    model = broken.broken(tiny_model, tmp_path / "model", broken.tokens_beyond)
    ran = train(box, project, model)
    assert ran.code == 65, ran.err
    assert "is in the rows, and the model's embedding has" in ran.err
    assert "resize_token_embeddings" in ran.err
    asked = ask(box, project, model)
    assert asked.code == 65, asked.err
    assert "'<|new_" in asked.err


def test_rows_beyond_learned_positions(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path
) -> None:
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 24, "n_inner": 48}
    model = family("GPT2LMHeadModel", tiny_model, tmp_path / "gpt2", **sizes)
    ran = train(box, project, model)
    assert ran.code == 65, ran.err
    assert "the model has learned 24 positions" in ran.err and "model.max_length=24" in ran.err


def test_rows_beyond_the_window_and_a_long_warm_up_are_warnings(
    project: Path, box: Box, tiny_model: Path, tmp_path: Path
) -> None:
    change = broken.configure(max_position_embeddings=24)
    model = broken.broken(tiny_model, tmp_path / "model", change)
    ran = train(box, project, model, "--set", "train.warmup_steps=9")
    assert ran.code == 0, ran.err
    assert "the model was made for 24 (max_position_embeddings)" in ran.err
    assert "train.warmup_steps is 9, and the training has 2 steps" in ran.err


def test_a_temperature_that_no_number_holds(project: Path, box: Box, tiny_model: Path) -> None:
    ran = box.run(
        "infer", "--config", "demo.yaml", "--set", "infer.temperature=1e-40", "--prompt", "Hi",
        "--base", cwd=project,
    )  # fmt: skip
    assert ran.code == 78, ran.err
    assert "at least 1e-6" in ran.err
