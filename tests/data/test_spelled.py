"""Tokens spelled in bytes: what they say of a text is what decoding says."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models

from sftplay.data.spelled import Spelling, spell, spelling_of
from tests.data.models import byte_tokenizer
from tests.data.test_mask_proof import PIECES

TOKENS = ("<|im_end|>", "with blanks", "Ġ", "é", "名")


@cache
def known() -> tuple[Tokenizer, Spelling]:
    backend = byte_tokenizer(TOKENS)
    spelling = spelling_of(backend)
    assert spelling is not None
    return backend, spelling


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=20), st.lists(st.sampled_from([*PIECES, *TOKENS]), max_size=6).map("".join)))
def test_a_text_that_survives(text: str) -> None:
    backend, spelling = known()
    ids = backend.encode(text, add_special_tokens=False).ids
    assert spell(spelling, [text], [ids]) == (backend.decode(ids, skip_special_tokens=False) == text)


@given(st.lists(st.integers(0, 259), max_size=8))
def test_any_tokens_at_all(ids: list[int]) -> None:
    backend, spelling = known()
    decoded = backend.decode(ids, skip_special_tokens=False)
    survives = "\ufffd" not in decoded  # bytes that are no text
    assert spell(spelling, [decoded], [ids]) == survives
    assert not spell(spelling, [decoded + "x"], [ids])


def test_other_tokenizers_are_left_to_their_decoders() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    assert spelling_of(words) is None
    words.decoder = decoders.ByteLevel()
    assert spelling_of(words) is not None
    odd = Tokenizer(models.WordLevel({"a b": 0, "[UNK]": 1}, unk_token="[UNK]"))
    odd.decoder = decoders.ByteLevel()
    assert spelling_of(odd) is None
    odd.add_tokens([AddedToken("c d")])
    assert spelling_of(odd) is None
