"""Tokenizers of every kind that models come with, small ones built with the `tokenizers` library,
and templates that stress their borders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
TURNS = ("<|user|>", "<|assistant|>", "<|end|>", "<|system|>")
CORPUS = [
    "the theme of the thing, then the answer is four.\n\nIt is [INST] and [/INST] (so) it was: 12 + 34.\n",
    " user\nassistant\n the  two   blanks\t\n\n\nlines ▁ and 名前 é ünï",
] * 30


def _trained(
    prepared: Iterable[str], size: int = 500
) -> dict[str, list[tuple[str, str]] | dict[str, int]]:
    """Vocabulary and merges of a BPE learned from texts that are split at nothing but where ▁
    begins a word.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁*[^▁]+|▁+"), "isolated")
    tokenizer.train_from_iterator(
        prepared, trainers.BpeTrainer(vocab_size=size, show_progress=False)
    )
    state = json.loads(tokenizer.to_str())["model"]
    return {"vocab": state["vocab"], "merges": [tuple(pair) for pair in state["merges"]]}


@cache
def _model() -> models.BPE:
    """A BPE with byte fallback, as SentencePiece models are converted to."""
    learned = _trained(text.replace(" ", "▁") for text in CORPUS)
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    for token in learned["vocab"]:
        vocab.setdefault(token, len(vocab))
    return models.BPE(
        vocab, learned["merges"], unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )  # type: ignore[arg-type]


def _decoder(*, strip: bool) -> decoders.Decoder:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)


def _sentencepiece(*, strip: bool = True, **flags: bool) -> Tokenizer:
    tokenizer = Tokenizer(_model())
    tokenizer.decoder = _decoder(strip=strip)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False, **flags) for token in TURNS]
    )
    return tokenizer


def prepend() -> Tokenizer:
    """Llama 2, TinyLlama, Mistral 7B v0.1: a ▁ in front of every text between special tokens."""
    tokenizer = _sentencepiece()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return tokenizer


def metaspace(scheme: str, *, split: bool = False) -> Tokenizer:
    """Mistral 7B v0.3 and others: `first` puts a ▁ in front of the first text only, `always` in
    front of every one.
    """
    tokenizer = _sentencepiece()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    return tokenizer


def phi3() -> Tokenizer:
    """Phi 3: as Llama 2, and tokens of turns take the white space behind them."""
    tokenizer = _sentencepiece(rstrip=True)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return tokenizer


def left_stripping() -> Tokenizer:
    tokenizer = _sentencepiece(lstrip=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


def gemma() -> Tokenizer:
    """Gemma: blanks become ▁, nothing is put in front."""
    tokenizer = _sentencepiece(strip=False)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return tokenizer


def _byte_level(
    splitter: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token in ("<unk>", "<s>", "</s>", *TURNS)
        ]
    )
    return tokenizer


def gpt2() -> Tokenizer:
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))


def roberta() -> Tokenizer:
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))


def qwen() -> Tokenizer:
    """Qwen 2 and 3: an expression of its own before the bytes, and NFC."""
    expression = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(Regex(expression), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _byte_level(pre_tokenizers.Sequence([split, bytes_only]), normalizers.NFC())


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "prepend": prepend,
    "metaspace first": lambda: metaspace("first"),
    "metaspace always": lambda: metaspace("always"),
    "metaspace first, split": lambda: metaspace("first", split=True),
    "metaspace never": lambda: metaspace("never"),
    "rstrip": phi3,
    "lstrip": left_stripping,
    "gemma": gemma,
    "gpt2": gpt2,
    "prefix space": roberta,
    "qwen": qwen,
}
TEMPLATES = {
    # Llama 2's and Mistral's: no special token around a turn; the answer follows the bracket, with
    # a blank or without
    "inst": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    "inst, no blank": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}",
    # TinyLlama's and Phi's: a line for the role
    "lines": "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "one line": "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
}
EOT = {"inst": "</s>", "inst, no blank": "</s>", "lines": "<|end|>", "one line": "<|end|>"}


def save(folder: Path, kind: str, template: str) -> Path:
    """Make a folder that the data stages take for a model."""
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind]().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(NAMED))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    (folder / "chat_template.jinja").write_text(TEMPLATES[template], encoding="utf-8")
    return folder
