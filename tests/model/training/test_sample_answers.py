"""Sample answers in training: those of plain PEFT at that step, and no effect on what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import PeftModel
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.box import Box


def _looks(project: Path) -> list[dict[str, Any]]:
    (file,) = (project / "outputs").glob("*/attempts/01-bnb/samples.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def _plain(project: Path, step: int, prompt: str) -> str:
    run = project / "outputs/demo"
    base = yaml.safe_load((run / "config.yaml").read_text())["model"]["name"]
    checkpoint = run / f"attempts/01-bnb/checkpoints/checkpoint-{step}"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "adapter")
    ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
        )
    return str(tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True))


def test_the_same_prompts_at_each_look(project: Path, box: Box) -> None:
    kept = ("--set", "train.eval_steps=4", "--set", "train.save_total_limit=9")
    argv = ("train", "--config", "demo.yaml", *kept)
    plain = box.run(*argv, "--run", "plain", cwd=project)
    assert plain.code == 0, plain.err
    assert not [*(project / "outputs/plain").rglob("samples.jsonl")]
    ran = box.run(
        *argv,
        "--set",
        "eval.show=2",
        "--set",
        "eval.max_new_tokens=16",
        "--run",
        "demo",
        cwd=project,
    )
    assert ran.code == 0, ran.err
    looks = _looks(project)
    assert [look["step"] for look in looks] == [4, 8]
    assert [len(look["samples"]) for look in looks] == [2, 2]
    asked = [[(one["id"], one["prompt"]) for one in look["samples"]] for look in looks]
    assert asked[0] == asked[1] and looks[0] != looks[1]
    rows = {
        json.loads(line)["id"]: json.loads(line)
        for line in (project / "data/processed/val.jsonl").read_text().splitlines()
    }
    for look in looks:
        for one in look["samples"]:
            user, wanted = (turn["content"] for turn in rows[one["id"]]["messages"][-2:])
            assert user in one["prompt"] and one["reference"].strip() == wanted
            prompt = f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
            assert one["answer"] == _plain(project, look["step"], prompt)
    log = (project / "outputs/demo/attempts/01-bnb/train.log").read_text()
    assert "step 8 sample 2:" in log
    weights = [
        (project / f"outputs/{run}/adapter/adapter_model.safetensors").read_bytes()
        for run in ("plain", "demo")
    ]
    assert weights[0] == weights[1]
    events = EventAccumulator(str(project / "outputs/demo/tb/01-bnb"))
    events.Reload()
    found = events.Tensors("answers/1/text_summary")
    assert [one.step for one in found] == [4, 8]
    assert looks[0]["samples"][0]["reference"].strip() in str(found[0].tensor_proto)
