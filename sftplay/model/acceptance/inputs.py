"""A model with random weights, its tokenizer, and rows to train on: made here, nothing is fetched."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_NAMES = ("Ada", "Bela", "Chen", "Dina", "Emil", "Fumi", "Gita", "Hugo")
_THINGS = ("apples", "tickets", "pages", "coins", "bricks", "letters", "maps", "shells")


@dataclass(frozen=True)
class ModelSize:
    """Shape of a Llama with grouped heads. `vocabulary`: rows of its embedding, at least as many as
    the tokenizer has.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    positions: int


# of the whole acceptance by device, and of the numerics matrix
SIZES = {
    "small": ModelSize(128, 2, 4, 2, 256, 512, 1024),
    "cpu": ModelSize(64, 2, 4, 2, 128, 512, 1024),
    "cuda": ModelSize(2048, 16, 32, 8, 5632, 32_000, 16_384),
}


def write_model(folder: Path, size: ModelSize, dtype: str) -> int:
    """Write config, random weights, tokenizer and chat template. Returns the number of weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=size.positions,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        model: Any = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def write_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer, trained on rows of the kind that are trained on here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [f"system {row['user']} {row['assistant']}" for row in rows(50, 200)]
    core.train_from_iterator(corpus, trainer)
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",  # noqa: S106 - the name of a token
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|im_end|>",  # noqa: S106
        unk_token="<|endoftext|>",  # noqa: S106
        model_max_length=1 << 20,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _CHATML
    tokenizer.save_pretrained(folder)


def rows(count: int, words: int, seed: int = 7) -> Iterator[dict[str, str]]:
    """Yield questions with answers of half of `words` to `words` words, the same ones every time."""
    chance = random.Random(seed)  # noqa: S311 - rows, no secrets
    for number in range(count):
        name, thing = chance.choice(_NAMES), chance.choice(_THINGS)
        lines: list[str] = []
        length, day, total = chance.randint(max(words // 2, 8), words), 0, chance.randint(2, 90)
        begins = total
        while sum(len(line.split()) for line in lines) < length:
            day, more = day + 1, chance.randint(2, 9)
            lines.append(f"On day {day} {name} has {total} + {more} = {total + more} {thing}.")
            total += more
        asked = f"Case {number}: {name} begins with {begins} {thing}. How many after {day} days?"
        yield {"user": asked, "assistant": " ".join(lines) + f" {total}"}


def main(kind: str, folder: str) -> int:
    """Write a model of a size into a folder, and its number of weights next to it.

    It is a process of its own: one that has computed in threads can't be forked afterwards.
    """
    weights = write_model(Path(folder), SIZES[kind], "bfloat16" if kind == "cuda" else "float32")
    Path(f"{folder}.json").write_text(json.dumps({"weights": weights}), encoding="utf-8")
    return 0


def write_rows(path: Path, count: int, words: int) -> Path:
    """Write rows as jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count, words)), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
