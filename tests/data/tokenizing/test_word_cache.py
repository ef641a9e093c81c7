"""Words encoded once: the ids are the library's, for any text, and other tokenizers are left to it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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

from sftplay.data.tokenizing import word_cache
from sftplay.data.tokenizing.byte_decode import token_bytes_of
from sftplay.data.tokenizing.word_cache import WordCache, split_rule_of

TOKENS = ("<|im_start|>", "<|im_end|>", "<|im", "ab")
PIECES = (
    *TOKENS,
    *(
        "'s",
        "'ll",
        "'S",
        "’s",
        " don't",
        "a",
        " a",
        "ab",
        "1",
        " 12",
        "٣",
        "½",
        "Ⅷ",
        "²",
        "é",
        "e\u0301",
        "名",
        " 名",
        "ß",
    ),
    *(
        " ",
        "  ",
        "\n",
        "\n\n",
        " \n ",
        "\t",
        "\r\n",
        "\x0b",
        "\x1c",
        "\x85",
        "\xa0",
        "\u2003",
        "\u200b",
        "\u3000",
        "\ufeff",
    ),
    *(
        "!",
        " !!",
        "<|",
        "|>",
        "😀",
        "👩‍👩‍👧",
        "\ue000",
        "\U000e0041",
        "\u0378",
        "\U0001e5d0",
        "\x00",
        "▁",
        "Ġ",
        "ͅ",
    ),
)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.text(max_size=4),
        st.characters(categories=("L", "M", "N", "Z", "Cn")),
    ),
    max_size=12,
).map("".join)


def tokenizer_with(splitter: pre_tokenizers.PreTokenizer) -> Tokenizer:
    """A byte-level BPE tokenizer, trained on a few lines so that it has merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the theme, don't you'll see 12 345\n\n  é名 été"] * 20, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in TOKENS]
    )
    return tokenizer


def byte_level(
    *, use_regex: bool = True, add_prefix_space: bool = False
) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


KNOWN = {
    "ByteLevel": byte_level,
    "Digits, ByteLevel": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), byte_level()]
    ),
}


@cache
def cached(kind: str) -> tuple[Tokenizer, WordCache]:
    backend = tokenizer_with(KNOWN[kind]())
    rule, token_bytes = split_rule_of(backend), token_bytes_of(backend)
    assert rule and token_bytes
    return backend, WordCache(backend, rule, token_bytes)


def ids_of(encoded: bytes | None) -> list[int] | None:
    return None if encoded is None else np.frombuffer(encoded, np.int32).tolist()


@pytest.mark.parametrize("kind", KNOWN)
@given(texts=st.lists(TEXTS, max_size=5))
def test_ids_are_those_of_the_library(kind: str, texts: list[str]) -> None:
    backend, words = cached(kind)
    for text, encoded in zip(texts, words.encode(texts), strict=True):
        if (ids := ids_of(encoded)) is not None:
            assert ids == backend.encode(text, add_special_tokens=False).ids
            assert backend.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("kind", KNOWN)
@given(before=TEXTS, after=TEXTS)
def test_the_characters_next_to_a_border_decide_as_the_whole_texts(
    kind: str, before: str, after: str
) -> None:
    _, words = cached(kind)
    near, whole = words.parts_at([words.border(before, after), (before, after)])
    assert near == whole


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long), 7])
def test_every_character_has_the_class_that_the_library_gives_it(kind: str, every: int) -> None:
    """Every character of the first plane between letters, numbers, marks and blanks."""
    backend, words = cached(kind)
    codes = [*range(1, 0x3000), *range(0x3000, 0xD800, every), *range(0xE000, 0x10000, every)]
    characters = [chr(code) for code in codes]
    texts = [
        f"a{char}b {char} 1{char}1 !{char}! \n{char}\n{char}{char}  {char}" for char in characters
    ]
    encoded = words.encode(texts)
    known = [each.ids for each in backend.encode_batch_fast(texts, add_special_tokens=False)]
    answered = [
        (ids_of(own), ids) for own, ids in zip(encoded, known, strict=True) if own is not None
    ]
    assert len(answered) > 0.99 * len(codes)
    assert all(own == ids for own, ids in answered)


def test_plain_texts_are_not_left_to_the_library() -> None:
    for kind in KNOWN:
        _, words = cached(kind)
        assert None not in words.encode(
            ["", "<|im_start|>user\nIt's 12 o'clock, été 名.<|im_end|>\n", "x", "ab" * 1000]
        )


def test_the_cache_starts_again_where_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "MAX_CHARACTERS", 100)
    backend = tokenizer_with(byte_level())
    rule, token_bytes = split_rule_of(backend), token_bytes_of(backend)
    assert rule and token_bytes
    words = WordCache(backend, rule, token_bytes)
    for number in range(50):
        text = f"word{chr(97 + number % 26)}{number} and <|im_end|> more{number}"
        (encoded,) = words.encode([text])
        assert ids_of(encoded) == backend.encode(text, add_special_tokens=False).ids
        assert len(words._known) < 60


def test_words_that_do_not_add_up_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is wrong about the tokenizer: the comparison with the library ends the stage."""
    backend = tokenizer_with(byte_level())
    token_bytes = token_bytes_of(backend)
    assert token_bytes
    rule = word_cache.SplitRule(digits=True, count=lambda text: len(text.split("5")))
    words = WordCache(backend, rule, token_bytes)
    monkeypatch.setattr(words, "_find", list)
    with pytest.raises(AssertionError, match="do not add up"):
        words.encode(["the theme"])


def lowercased(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def with_token(**flags: bool) -> Tokenizer:
    tokenizer = tokenizer_with(byte_level())
    tokenizer.add_tokens([AddedToken("<x>", **{"normalized": False, **flags})])
    return tokenizer


def with_dropout() -> Tokenizer:
    tokenizer = tokenizer_with(byte_level())
    tokenizer.model.dropout = 0.5
    return tokenizer


OTHERS = {
    "own expression": lambda: tokenizer_with(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(r"\w+|."), "isolated"), byte_level(use_regex=False)]
        )
    ),
    "prefix space": lambda: tokenizer_with(byte_level(add_prefix_space=True)),
    "metaspace": lambda: tokenizer_with(pre_tokenizers.Metaspace()),
    "digits in groups": lambda: tokenizer_with(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(), byte_level()])
    ),
    "normalizer": lambda: lowercased(tokenizer_with(byte_level())),
    "lstrip": lambda: with_token(lstrip=True),
    "rstrip": lambda: with_token(rstrip=True),
    "single word": lambda: with_token(single_word=True),
    "normalized token": lambda: with_token(normalized=True),
    "dropout": with_dropout,
    "no pre-tokenizer": lambda: Tokenizer(models.BPE({"a": 0}, [])),
    "other model": lambda: Tokenizer(models.WordLevel({"a": 0}, "a")),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_tokenizers_are_left_to_the_library(kind: str) -> None:
    assert split_rule_of(OTHERS[kind]()) is None
