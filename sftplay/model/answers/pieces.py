"""Text of tokens as they are chosen, piece by piece; joined, the pieces are the answer."""

from __future__ import annotations

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from sftplay.model.answers.prompts import plain_text


class TextPieces:
    """One answer's text. A character of several tokens comes when it is whole."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._tokens: list[int] = []
        self._said = ""

    def add(self, token: int) -> str:
        """Return the text that this token completes; empty if none."""
        self._tokens.append(token)
        piece = self._decoder.step(self._tokenizer.backend_tokenizer, token) or ""
        self._said += piece
        return piece

    def rest(self) -> str:
        """Return what is left at the end: half a character, where the answer was cut off in the
        middle of it.
        """
        whole = plain_text(self._tokenizer, self._tokens)
        return whole[len(self._said) :] if whole.startswith(self._said) else ""
