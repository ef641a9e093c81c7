"""The probe's own process: `python -m sftplay.model.unsloth.probe_process PRECISION REPORT`. See probe.py."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sftplay.model.unsloth.failures import describe

# A Llama of two layers: the family that Unsloth's own kernels were written for. Grouped heads, as
# most models have.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320, "max_position_embeddings": 256, "tie_word_embeddings": False,
}  # fmt: skip


def main(precision: str, report: Path) -> int:
    """Write what was found; 0 where everything ran, 1 where it raised."""
    try:
        found: dict[str, Any] = {"attention": _one_pass(precision)}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it travels as plain values
        import traceback

        traceback.print_exc()
        found = {"failure": asdict(describe(error))}
    report.write_text(json.dumps(found), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        0 if "attention" in found else 1
    )  # a teardown that crashes says nothing about training


def _one_pass(precision: str) -> str:
    """Import, load, adapter, forward, backward; returns the attention kernel that ran."""
    from sftplay.model.backends import load_backend
    from sftplay.settings import Settings

    backend = load_backend("unsloth")  # first: see there

    import torch

    from sftplay.model.forward.attention import kernel_of
    from sftplay.model.forward.loss import target_loss
    from sftplay.model.runtime.device import decide_device
    from sftplay.model.runtime.precision import autocast

    settings = Settings.model_validate(
        {"backend": "unsloth", "model": {"max_length": 64}, "lora": {"r": 8}}
    )
    device = decide_device(settings).value
    with tempfile.TemporaryDirectory(prefix="sftplay-probe-") as folder:
        write_tiny_model(Path(folder))
        model = backend.prepare(
            backend.load(settings, Path(folder), device, precision), settings, None
        )
    model.train()
    ids = torch.arange(3, 67, device=model.device).reshape(2, 32)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    with autocast(device, precision):
        name = kernel_of(model, batch)
        loss, count = target_loss(model, batch)
    (loss / count).backward()
    if not all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None):
        raise RuntimeError("Unsloth: the probe's gradients are not finite")
    if device == "cuda":
        torch.cuda.synchronize()  # a kernel's failure shows late
    return name


def write_tiny_model(folder: Path) -> None:
    """Config, random weights and a tokenizer of single bytes."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, set_seed

    set_seed(0)
    AutoModelForCausalLM.from_config(LlamaConfig(**CONFIG)).save_pretrained(folder)
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{i}": i for i in range(3, CONFIG["vocab_size"])}
    backend = Tokenizer(WordLevel(words, special["unk_token"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
