"""Rows end to end give the loss and the gradients of the same rows one by one, whatever the
attention; else they are refused.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sftplay.errors import ConfigError
from sftplay.model.forward.collate import IGNORED, Packer, on_device
from sftplay.model.forward.loss import mean_target_loss, target_loss
from sftplay.model.forward.packing import keep_rows_apart
from tests.box import Box
from tests.model.oracle import one_by_one

CHANCE = torch.Generator().manual_seed(7)
SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "initializer_range": 0.2,
}  # fmt: skip


def _row(length: int, prompt: int) -> dict[str, Any]:
    ids = torch.randint(3, 60, (length,), generator=CHANCE).tolist()
    return {"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]}


ROWS = [_row(17, 8), _row(9, 1), _row(23, 11), _row(2, 1)]


def _family(name: str, attention: str) -> Any:
    import transformers

    torch.manual_seed(0)
    sizes = {
        "Llama": {},
        "Qwen3": {},
        "Mistral": {"sliding_window": 5},
        "Gemma3Text": {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
        "Gemma2": {
            "sliding_window": 5,
            "attn_logit_softcapping": 0.05,
            "final_logit_softcapping": 1.0,
        },
    }[name]
    config = getattr(transformers, f"{name}Config")(**SMALL, **sizes)
    model_class = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")
    return model_class._from_config(config, attn_implementation=attention).train()


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def test_a_pass_is_one_sequence_without_padding() -> None:
    rows = [
        {"input_ids": [5, 6, 7], "labels": [5, IGNORED, 7]},
        {"input_ids": [8, 9], "labels": [8, 9]},
    ]
    batch = Packer()(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 7, -100, 9]]  # 7 does not predict 8
    assert batch["row_lengths"] == [3, 2]
    assert on_device(batch, "cpu")["row_lengths"] == [3, 2]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    ("family", "attention"),
    [
        ("Llama", "sdpa"), ("Llama", "eager"), ("Qwen3", "sdpa"), ("Mistral", "sdpa"), ("Mistral", "eager"),
        ("Gemma3Text", "sdpa"), ("Gemma2", "eager"),
    ],
)  # fmt: skip
def test_loss_and_gradients_are_those_of_single_rows(
    family: str, attention: str, checkpointing: bool
) -> None:
    model = _family(family, attention)
    expected, count = one_by_one(model, ROWS)
    expected.backward()
    wanted = _gradients(model)
    keep_rows_apart(model, ROWS[:2])
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    total, tokens = target_loss(model, Packer()(ROWS))
    total.backward()
    found = _gradients(model)
    assert tokens == count == 9 + 8 + 12 + 1
    assert torch.allclose(total, expected, rtol=1e-5)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert torch.allclose(gradient, wanted[name], rtol=1e-3, atol=1e-4), name


def test_positions_that_go_on_would_leak() -> None:
    """Counter-check of the equality above: without the code that keeps rows apart, the loss is
    another one.
    """
    model = _family("Llama", "sdpa")
    expected, _ = one_by_one(model, ROWS)
    batch = Packer()(ROWS)
    total, _ = target_loss(
        model, {key: batch[key] for key in ("input_ids", "labels", "attention_mask")}
    )
    assert abs(total.item() / expected.item() - 1) > 1e-3


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_val_loss_is_the_same(batch_size: int) -> None:
    model = _family("Llama", "sdpa")
    expected, count = one_by_one(model.eval(), ROWS)
    keep_rows_apart(model, ROWS[:2])
    loss, tokens = mean_target_loss(model, ROWS, Packer(), batch_size)
    assert tokens == count and loss == pytest.approx(expected.item() / count, rel=1e-5)


def test_a_state_that_runs_through_the_rows_is_refused() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    model = MambaForCausalLM(
        MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4)
    )
    with pytest.raises(ConfigError, match="can't be trained with packing") as caught:
        keep_rows_apart(model, ROWS[:2])
    assert caught.value.where == "train.packing" and "train.packing=false" in caught.value.todo


def test_attention_by_parts_of_a_row_is_refused() -> None:
    """Llama 4's chunks are counted from the beginning of the sequence, and made by a mask."""
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    torch.manual_seed(0)
    config = Llama4TextConfig(
        **SMALL, intermediate_size_mlp=48, num_local_experts=2, attention_chunk_size=6, pad_token_id=0,
        layer_types=["chunked_attention", "full_attention"], no_rope_layers=[1, 0],
    )  # fmt: skip
    model = Llama4ForCausalLM._from_config(config, attn_implementation="sdpa")
    with pytest.raises(ConfigError, match="can't be trained with packing"):
        keep_rows_apart(model, ROWS[:2])


def _train(box: Box, project: Path, run: str, *sets: str) -> list[float]:
    words = [word for each in ("lora.dropout=0", *sets) for word in ("--set", each)]
    ran = box.run("train", "--config", "demo.yaml", "--run", run, *words, cwd=project)
    assert ran.code == 0, ran.err
    (steps,) = (project / "outputs" / run / "attempts").glob("*/steps.jsonl")
    return [
        point["loss"]
        for point in map(json.loads, steps.read_text().splitlines())
        if "loss" in point
    ]


def test_the_curve_is_that_of_padded_rows(project: Path, box: Box) -> None:
    padded = _train(box, project, "padded", "train.batch_size=4")
    packed = _train(box, project, "packed", "train.batch_size=4", "train.packing=true")
    split = _train(
        box,
        project,
        "split",
        "train.batch_size=2",
        "train.gradient_accumulation_steps=2",
        "train.packing=true",
    )
    assert (
        len(packed) == 8
        and packed == pytest.approx(padded, rel=1e-3)
        and split == pytest.approx(padded, rel=1e-3)
    )
    record = json.loads((project / "outputs/packed/run.json").read_text())
    assert record["effective"]["packing"] and record["effective"]["first_batch"]["rows"] == 4
    assert (
        json.loads((project / "outputs/packed/backend.json").read_text())["attention"]
        == "sdpa/flash, packed"
    )
    assert (
        record["tokens"] == json.loads((project / "outputs/padded/run.json").read_text())["tokens"]
    )


def test_a_resumed_run_ends_with_the_same_bytes(project: Path, box: Box) -> None:
    _train(box, project, "demo", "train.packing=true")
    run = project / "outputs" / "demo"
    expected = (run / "adapter/adapter_model.safetensors").read_bytes()
    (run / "attempts/01-bnb/checkpoints/checkpoint-8/optimizer.pt").write_bytes(b"")
    shutil.rmtree(run / "adapter")
    ran = box.run("train", "--run", "demo", "--resume", cwd=project)
    assert ran.code == 0 and "resuming from checkpoint-6" in ran.err, ran.err
    assert (run / "adapter/adapter_model.safetensors").read_bytes() == expected
