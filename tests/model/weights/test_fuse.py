"""An adapter added to its base is the model that was trained: for every list of targets, with and
without tied embeddings, in every precision.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, Zamba2Config

from sftplay.data.tokenizing.artifact import read_split
from sftplay.errors import RefusedError
from sftplay.model.weights import fuse
from tests.box import Box
from tests.model.oracle import one_by_one
from tests.tiny import make_tiny_model

TARGETS = {
    "embeddings": ["embed_tokens"],
    "embeddings-and-queries": ["embed_tokens", "q_proj"],
    "all-linear": "all-linear",
    "two": ["o_proj", "up_proj"],
}
LIMITS = {"fp32": 1e-5, "bf16": 5e-3}  # relative: the adapter's product is rounded elsewhere
EVERYDAY = [("embeddings", True, "fp32"), ("embeddings-and-queries", True, "bf16")]
CASES = list(itertools.product(TARGETS, (True, False), LIMITS))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Tied or not → model."""
    place = tmp_path_factory.mktemp("tied")
    return {tied: make_tiny_model(place / str(tied), tied=tied) for tied in (True, False)}


def _val_loss(model: Any, project: Path) -> float:
    rows = read_split(project / "data/tokenized/val.arrow").to_pylist()
    with torch.inference_mode():
        total, count = one_by_one(model.eval(), rows)
    return float(total) / count


def _check(
    targets: str, tied: bool, precision: str, models: dict[bool, Path], project: Path, box: Box
) -> None:
    """The val loss at the end of training, of `eval`, of plain PEFT, and of the merged model."""
    values = {
        "model.name": str(models[tied]), "lora.target_modules": json.dumps(TARGETS[targets]), "train.precision": precision, "train.eval_steps": 8,
        "eval.max_new_tokens": 1,
    }  # fmt: skip
    words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    for argv in (
        ("train", "--config", "demo.yaml", *words),
        ("eval", "--run", "demo"),
        ("merge", "--run", "demo", "--dtype", "fp32"),
    ):
        ran = box.run(*argv, cwd=project)
        assert ran.code == 0, ran.err
    run = project / "outputs/demo"
    trained = json.loads((run / "run.json").read_text())["val_loss"]
    loss = json.loads((run / "eval/val/metrics.json").read_text())["metrics"]["loss"]
    limit = LIMITS[precision]
    assert loss["tuned"] == pytest.approx(trained, rel=limit)
    assert abs(loss["base"] - loss["tuned"]) > 100 * limit, "or the equality would prove little"
    base = AutoModelForCausalLM.from_pretrained(models[tied], dtype=torch.float32)
    beside = PeftModel.from_pretrained(base, run / "adapter")
    wider = (
        limit if precision == "fp32" else 5 * limit
    )  # it computes in fp32, on the unrounded base
    assert _val_loss(beside, project) == pytest.approx(trained, rel=wider)
    merged = AutoModelForCausalLM.from_pretrained(run / "merged")
    assert _val_loss(merged, project) == pytest.approx(_val_loss(beside, project), rel=1e-5)
    embeds = "embed_tokens" in TARGETS[targets]
    assert merged.config.tie_word_embeddings == (tied and not embeds)


@pytest.mark.parametrize(("targets", "tied", "precision"), EVERYDAY)
def test_eval_and_merge_see_the_model_that_was_trained(
    targets: str, tied: bool, precision: str, models: dict[bool, Path], project: Path, box: Box
) -> None:
    _check(targets, tied, precision, models, project, box)


@pytest.mark.long
@pytest.mark.parametrize(
    ("targets", "tied", "precision"), [case for case in CASES if case not in EVERYDAY]
)
def test_eval_and_merge_see_every_model_that_was_trained(
    targets: str, tied: bool, precision: str, models: dict[bool, Path], project: Path, box: Box
) -> None:
    _check(targets, tied, precision, models, project, box)


def test_the_adapter_holds_no_weights_of_its_base(models: dict[bool, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from sftplay.model.training.checkpoints import save_weights

    base = AutoModelForCausalLM.from_pretrained(models[True])
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=["embed_tokens"]))
    save_weights(model, tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert stored and all("lora_" in name for name in stored)


def _with_shared_layers() -> Any:
    """A model whose attention block is one, used by several layers, with other weights beside it."""
    config = Zamba2Config(
        vocab_size=64, hidden_size=32, num_hidden_layers=4, layers_block_type=["mamba", "hybrid", "mamba", "hybrid"], num_mem_blocks=1,
        intermediate_size=48, num_attention_heads=4, num_key_value_heads=4, mamba_d_state=8, n_mamba_heads=4, mamba_headdim=16, mamba_ngroups=1,
        adapter_rank=4,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def test_layers_that_share_weights_inside_the_model_are_not_merged() -> None:
    model = _with_shared_layers()
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["o_proj"]))
    assert fuse.shared_layers(tuned)
    with pytest.raises(RefusedError, match="share"):
        fuse.merged(tuned)
    assert fuse.fused(tuned) is tuned


def _with_adapter(base: Any, how: str, targets: Any) -> Any:
    """The base with an adapter of random numbers: its second matrix is zero when it is made."""
    options = {"dora": {"use_dora": True}, "rslora": {"use_rslora": True}}.get(how, {})
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=targets, lora_alpha=16, **options)
    model = get_peft_model(base, config).eval()
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(20)[None]).logits


@pytest.mark.parametrize("how", ["lora", "dora", "rslora"])
@pytest.mark.parametrize("targets", [["embed_tokens", "q_proj"], "all-linear"], ids=str)
def test_tuned_and_base_share_what_has_no_adapter(
    how: str, targets: Any, models: dict[bool, Path]
) -> None:
    """Both are what plain transformers and PEFT compute; a weight without adapter is there once."""
    base = AutoModelForCausalLM.from_pretrained(models[True], dtype=torch.float32).eval()
    alone = _logits(base)
    model = _with_adapter(base, how, targets)
    beside, size = _logits(model), fuse.adapted_bytes(model)
    effect = float((beside - alone).abs().max())
    assert effect > 0.01, "or nothing would be proved"
    assert fuse.fused_beside_base(model, size - 1) is None and torch.equal(_logits(model), beside)
    apart = fuse.fused_beside_base(model, size)
    assert apart is not None
    tuned, plain = apart
    for _ in range(2):  # neither changes the other
        assert torch.equal(_logits(plain), alone)
        assert (_logits(tuned) - beside).abs().max() < 1e-3 * effect
    memory = {w.data_ptr(): w.numel() * 4 for each in apart for w in each.parameters()}
    once = sum(weight.numel() * 4 for weight in plain.parameters())
    assert sum(memory.values()) == once + size


def test_in_16_bits_the_adapter_stays_beside_its_base(models: dict[bool, Path]) -> None:
    base = AutoModelForCausalLM.from_pretrained(models[True], dtype=torch.bfloat16)
    model = _with_adapter(base, "lora", ["q_proj"])
    assert fuse.fused_beside_base(model, 1 << 40) is None and hasattr(model, "peft_config")
