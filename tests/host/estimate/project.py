"""A small project to estimate: model files and a config."""

from __future__ import annotations

import json
from pathlib import Path

BLOCK = {
    "model.embed_tokens.weight": [100, 8],
    "model.layers.0.self_attn.q_proj.weight": [8, 8],
    "model.layers.0.mlp.up_proj.weight": [20, 8],
    "model.layers.0.input_layernorm.weight": [8],
    "lm_head.weight": [100, 8],
}
CONFIG = {"num_hidden_layers": 1, "hidden_size": 8, "vocab_size": 100}


def write_model(folder: Path, tensors: dict[str, list[int]], config: dict[str, object]) -> Path:
    """A safetensors file with a true header; its weights are left out, because nothing here may
    read them.
    """
    header = json.dumps(
        {name: {"dtype": "F32", "shape": s, "data_offsets": [0, 0]} for name, s in tensors.items()}
    )
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_config(text: str) -> None:
    Path("configs/run_bnb.yaml").write_text(text)
