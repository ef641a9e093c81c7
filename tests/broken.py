"""Model folders with something wrong, made of the tiny model: the ones that people really have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LFS = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 497774208\n"
)


def broken(model: Path, folder: Path, spoil: Callable[[Path], None]) -> Path:
    """A copy of `model` in `folder`, spoiled."""
    shutil.copytree(model, folder)
    spoil(folder)
    return folder


def configure(**values: Any) -> Callable[[Path], None]:
    """Change config.json."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def rename(change: Callable[[str], str | None]) -> Callable[[Path], None]:
    """Rename tensors; None leaves one out."""

    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        state = load_file(folder / WEIGHTS)
        named = {change(name): tensor.contiguous() for name, tensor in state.items()}
        named.pop(None, None)
        save_file(named, folder / WEIGHTS, metadata={"format": "pt"})  # type: ignore[arg-type]

    return spoil


def shard(folder: Path) -> None:
    """Two weight files with an index instead of one."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names, index = sorted(state), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(part, file))
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))


def shard_gone(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def index_gone(folder: Path) -> None:
    shard(folder)
    (folder / INDEX).unlink()


def cut_off(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def lfs_pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text(LFS)


def pickled(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def tokens_beyond(folder: Path) -> None:
    """A tokenizer with tokens in its template that the embedding has no rows for."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|new_turn|>", "<|new_end|>"]})
    template = tokenizer.chat_template
    tokenizer.chat_template = template.replace("<|im_start|>", "<|new_turn|>").replace(
        "<|im_end|>", "<|new_end|>"
    )
    tokenizer.save_pretrained(folder)


def not_a_number(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / WEIGHTS)
    state["model.layers.0.mlp.up_proj.weight"] *= float("nan")
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
