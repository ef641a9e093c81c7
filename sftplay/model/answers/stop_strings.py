"""Texts that end an answer (`infer.stop`).

A text may begin and end within tokens, so that what was written is compared as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


def before_stop(text: str, stop: Sequence[str]) -> str:
    """Return what is in front of the first of these texts; the whole text if it has none."""
    return text[: min((place for each in stop if (place := text.find(each)) >= 0), default=None)]


class StopWatch:
    """Reads one answer as it is written, and sees when it has one of the texts.

    Args:
        stop: the texts.
        tokenizer: transformers' fast tokenizer that the answer is decoded with.

    Attributes:
        text: the answer so far, whole characters only.
        stopped: it has one of the texts.
    """

    def __init__(self, stop: Sequence[str], tokenizer: Any) -> None:
        self._stop, self._tokenizer = stop, tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._longest = max((len(each) for each in stop), default=0)
        self.text, self.stopped = "", False

    def read(self, token: int) -> bool:
        """Take the next token; whether the answer has ended by now."""
        if piece := self._decoder.step(self._tokenizer.backend_tokenizer, token):
            tail = self.text[-self._longest :] + piece
            self.text += piece
            self.stopped = self.stopped or any(each in tail for each in self._stop)
        return self.stopped

    def fresh(self) -> StopWatch:
        """One for another answer."""
        return StopWatch(self._stop, self._tokenizer)

    @property
    def safe(self) -> str:
        """The part of the text that belongs to the answer whatever follows: without a stop text, or
        an end that may become one.
        """
        if self.stopped:
            return before_stop(self.text, self._stop)
        held = 0
        for each in self._stop:
            lengths = range(min(len(each) - 1, len(self.text)), held, -1)
            held = next((n for n in lengths if self.text.endswith(each[:n])), held)
        return self.text[: len(self.text) - held]


class AnswerStream:
    """Tokens of one answer after the other, each up to its end.

    Args:
        stop_ids: tokens that end an answer.

    Attributes:
        ended: the model ended its last answer itself.
    """

    def __init__(self, stop_ids: Sequence[int]) -> None:
        self._stop_ids, self.ended = stop_ids, False

    def _until_end(self, found: Iterable[int], watch: StopWatch | None) -> Iterator[int]:
        """Yield tokens up to the one that ends the answer, which is left out, or to a stop text."""
        for token in found:
            self.ended = token in self._stop_ids
            if self.ended:
                return
            self.ended = watch is not None and watch.read(token)
            yield token
            if self.ended:
                return
