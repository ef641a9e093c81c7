"""Merging through the real command: a folder that plain transformers loads, and refusals where the
proof fails.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from peft.tuners.lora import LoraModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from sftplay.cli import make_job
from sftplay.errors import RefusedError
from sftplay.manifest import MANIFEST, problem_with, seal
from sftplay.model.merge import run
from sftplay.untrusted import read_json
from tests.box import Box

LORA = "adapter_model.safetensors"


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.arange(3, 60)[None]).logits.float()
    return logits


def _edit_adapter(project: Path, change: Any) -> None:
    """Change the adapter's weights and seal it again, as a backend that saves nonsense would."""
    folder = project / "outputs/demo/adapter"
    weights = {name: change(name, tensor) for name, tensor in load_file(folder / LORA).items()}
    save_file(weights, folder / LORA, metadata={"format": "pt"})
    facts = {key: value for key, value in read_json(folder / MANIFEST).items() if key != "files"}
    seal(folder, facts)


@pytest.fixture(scope="module")
def merged(trained_project: Path, tmp_path_factory: pytest.TempPathFactory, box: Box) -> Path:
    """The trained project, evaluated and merged in bf16. Not to be changed."""
    folder = tmp_path_factory.mktemp("merged") / "project"
    shutil.copytree(trained_project, folder)
    for argv in (("eval", "--samples", "3"), ("merge",)):
        ran = box.run(*argv, "--run", "demo", cwd=folder)
        assert ran.code == 0, ran.err
    assert ran.out == "outputs/demo/merged\n"
    return folder


def test_plain_transformers_loads_it_and_it_is_the_tuned_model(
    merged: Path, tiny_model: Path
) -> None:
    folder = merged / "outputs/demo/merged"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.bfloat16 and not hasattr(model.config, "quantization_config")
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    before = _logits(base)
    tuned = _logits(PeftModel.from_pretrained(base, merged / "outputs/demo/adapter"))
    wide = _logits(model.float())
    assert (wide - tuned).abs().max() < 0.2 < (before - tuned).abs().max()
    assert problem_with(folder) is None


def test_it_speaks_as_the_run_does(merged: Path) -> None:
    folder, adapter = merged / "outputs/demo/merged", merged / "outputs/demo/adapter"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == (merged / "outputs/demo/chat_template.jinja").read_text()
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(adapter).get_vocab()
    eot = tokenizer.convert_tokens_to_ids("<|im_end|>")
    generation = GenerationConfig.from_pretrained(folder)
    assert eot in generation.eos_token_id and generation.pad_token_id is not None


def test_the_proof_is_recorded(merged: Path) -> None:
    proof = read_json(merged / "outputs/demo/merged/proof.json")
    assert (
        proof["arithmetic"]["max_logit_difference"] < 1e-2
        and proof["arithmetic"]["top1_agreement"] == 1
    )
    assert proof["effect"]["max_logit_difference"] > 0.2
    assert proof["rounding"]["max_logit_difference"] > 0 and proof["dtype"] == "bf16"
    events = (merged / "outputs/demo/events.jsonl").read_text().splitlines()
    assert json.loads(events[-1])["event"] == "merged"


def test_the_card_says_what_a_stranger_wants_to_know(merged: Path, tiny_model: Path) -> None:
    card = (merged / "outputs/demo/merged/README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "transformers" and head["pipeline_tag"] == "text-generation"
    assert "base_model" not in head and str(tiny_model) not in card, "a path is no id of the hub"
    loss = read_json(merged / "outputs/demo/eval/val/metrics.json")["metrics"]["loss"]
    (result,) = [r for r in ModelCard(card).data.eval_results or [] if r.metric_type == "loss"]
    assert result.metric_value == pytest.approx(loss["tuned"], abs=1e-6)
    assert result.dataset_args == {"rows": 3} and result.dataset_split == "val"
    assert result.metric_args["interval_95"] == pytest.approx(loss["tuned_interval"], abs=1e-6)
    for word in (
        "rank 4",
        tiny_model.name,
        f"{loss['tuned']:.3f}",
        "Evaluation (val, 3 rows)",
        "transformers 5",
        "<|im_end|>",
        "20",
    ):
        assert word in card, word


def test_cards_follow_an_evaluation_and_the_folders_stay_whole(
    merged: Path, tmp_path: Path, box: Box
) -> None:
    project = tmp_path / "project"
    shutil.copytree(merged, project)
    run = project / "outputs/demo"
    for argv in (("--split", "test", "--samples", "2"), ("--samples", "4")):
        assert box.run("eval", "--run", "demo", *argv, cwd=project).code == 0
    for name in ("adapter", "merged"):
        assert problem_with(run / name) is None
        found = ModelCard.load(run / name / "README.md").data.eval_results or []
        rows = {r.dataset_split: r.dataset_args for r in found}
        assert rows == {"test": {"rows": 2}, "val": {"rows": 4}}, name
    assert "rounding moves a logit" in (run / "merged/README.md").read_text()


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_other_number_formats(trained: Path, box: Box, dtype: str) -> None:
    ran = box.run("merge", "--run", "demo", "--dtype", dtype, cwd=trained)
    assert ran.code == 0, ran.err
    proof = read_json(trained / "outputs/demo/merged/proof.json")
    model = AutoModelForCausalLM.from_pretrained(trained / "outputs/demo/merged", dtype="auto")
    assert model.dtype == {"fp32": torch.float32, "fp16": torch.float16}[dtype]
    if dtype == "fp32":
        assert (
            proof["rounding"]["max_logit_difference"] < 1e-4
            and proof["rounding"]["top1_agreement"] == 1
        )
    assert not (trained / "outputs/demo/merged/README.md").read_text().count("Evaluation (")


def test_an_adapter_without_effect_is_refused(trained: Path, box: Box) -> None:
    _edit_adapter(
        trained, lambda name, tensor: torch.zeros_like(tensor) if "lora_B" in name else tensor
    )
    ran = box.run("merge", "--run", "demo", cwd=trained)
    assert ran.code == 76 and "no effect" in ran.err
    assert not (trained / "outputs/demo/merged").exists() and not list(
        (trained / "outputs/demo").glob(".tmp-*")
    )


def test_a_merge_that_drifts_is_refused(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that puts one weight wrong while it merges."""
    correct = LoraModel.merge_and_unload

    def wrong(model: LoraModel, *args: Any, **kwargs: Any) -> Any:
        merged = correct(model, *args, **kwargs)
        with torch.no_grad():
            merged.get_submodule("model.layers.0.mlp.up_proj").weight[0, 0] += 0.5
        return merged

    monkeypatch.setattr(LoraModel, "merge_and_unload", wrong)
    monkeypatch.chdir(trained)
    with pytest.raises(RefusedError, match="drift"):
        run(make_job(None, "demo", [], {"dtype": None}))
    assert not Path("outputs/demo/merged").exists() and not list(
        Path("outputs/demo").glob(".tmp-*")
    )


def test_a_number_that_fp16_can_not_hold_is_refused(trained: Path, box: Box) -> None:
    def huge(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * 2e6 if "lora_B" in name and "layers.1.mlp.down_proj" in name else tensor

    _edit_adapter(trained, huge)
    ran = box.run("merge", "--run", "demo", "--dtype", "fp16", cwd=trained)
    assert ran.code == 76 and ("fp16 can't hold" in ran.err or "drift" in ran.err)


def test_changed_weights_are_refused(trained: Path, box: Box) -> None:
    path = trained / "outputs/demo/adapter" / LORA
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    ran = box.run("merge", "--run", "demo", cwd=trained)
    assert ran.code == 76 and LORA in ran.err


@pytest.mark.parametrize(
    "variant", [("lora.dora=true",), ("lora.rslora=true",), ("train.method=qlora",), ("train.method=full", "train.learning_rate=0.001")]
)  # fmt: skip
def test_every_method_merges(trained: Path, box: Box, variant: tuple[str, ...]) -> None:
    changes = [word for change in variant for word in ("--set", change)]
    assert (
        box.run("train", "--config", "demo.yaml", "--run", "other", *changes, cwd=trained).code == 0
    )
    ran = box.run("merge", "--run", "other", cwd=trained)
    assert ran.code == 0, ran.err
    folder = trained / "outputs/other/merged"
    proof = read_json(folder / "proof.json")
    assert (proof["arithmetic"] is None) == (variant[0] == "train.method=full")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.bfloat16 and "quantization_config" not in read_json(
        folder / "config.json"
    )
    words = {
        "lora.dora=true": "DoRA",
        "lora.rslora=true": "rank-stabilized",
        "train.method=qlora": "QLoRA",
    }
    assert words.get(variant[0], "every weight") in (folder / "README.md").read_text()


def test_a_new_merge_replaces_the_old_one_and_a_killed_one_leaves_it(
    trained: Path, box: Box
) -> None:
    folder = trained / "outputs/demo"
    assert box.run("merge", "--run", "demo", cwd=trained).code == 0
    before = (folder / "merged/model.safetensors").read_bytes()
    started = box.start("merge", "--run", "demo", "--dtype", "fp32", cwd=trained)
    while not list(folder.glob(".tmp-merged.*")):
        assert not (folder / "merged" / "proof.json").read_text().count('"fp32"')
    started.kill(signal.SIGKILL)
    started.wait()
    assert (
        problem_with(folder / "merged") is None
        and (folder / "merged/model.safetensors").read_bytes() == before
    )
    assert box.run("merge", "--run", "demo", "--dtype", "fp32", cwd=trained).code == 0
    assert read_json(folder / "merged/proof.json")["dtype"] == "fp32" and not list(
        folder.glob(".tmp-*")
    )


def test_before_training(trained: Path, box: Box) -> None:
    shutil.rmtree(trained / "outputs")
    ran = box.run("merge", "--config", "demo.yaml", cwd=trained)
    assert ran.code == 66 and "train it first" in ran.err
