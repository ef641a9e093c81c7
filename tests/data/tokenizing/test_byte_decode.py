"""Tokens spelled in bytes: what they say of a text is what decoding says."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models

from sftplay.data.tokenizing.byte_decode import TokenBytes, decodes_to, token_bytes_of
from tests.data.models import byte_tokenizer
from tests.data.rendering.test_mask_proof import PIECES

TOKENS = ("<|im_end|>", "with blanks", "Ġ", "é", "名")


@cache
def known() -> tuple[Tokenizer, TokenBytes]:
    backend = byte_tokenizer(TOKENS)
    spelling = token_bytes_of(backend)
    assert spelling is not None
    return backend, spelling


@settings(max_examples=200)
@given(
    st.one_of(
        st.text(max_size=20), st.lists(st.sampled_from([*PIECES, *TOKENS]), max_size=6).map("".join)
    )
)
def test_a_text_that_survives(text: str) -> None:
    backend, spelling = known()
    ids = backend.encode(text, add_special_tokens=False).ids
    assert decodes_to(spelling, [text], [ids]) == (
        backend.decode(ids, skip_special_tokens=False) == text
    )


@given(st.lists(st.integers(0, 259), max_size=8))
def test_any_tokens_at_all(ids: list[int]) -> None:
    backend, spelling = known()
    decoded = backend.decode(ids, skip_special_tokens=False)
    survives = "\ufffd" not in decoded  # bytes that are no text
    assert decodes_to(spelling, [decoded], [ids]) == survives
    assert not decodes_to(spelling, [decoded + "x"], [ids])


def test_other_tokenizers_are_left_to_their_decoders() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    assert token_bytes_of(words) is None
    words.decoder = decoders.ByteLevel()
    assert token_bytes_of(words) is not None
    odd = Tokenizer(models.WordLevel({"a b": 0, "[UNK]": 1}, unk_token="[UNK]"))
    odd.decoder = decoders.ByteLevel()
    assert token_bytes_of(odd) is None
    odd.add_tokens([AddedToken("c d")])
    assert token_bytes_of(odd) is None
