"""One tokenized row for a terminal: the text as the model sees it, what is trained standing out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sftplay import console
from sftplay.data.tokenizing.artifact import IGNORED
from sftplay.data.tokenizing.special_tokens import special_pattern
from sftplay.terminal_text import harmless

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# dim, green, underlined (ECMA-48, select graphic rendition)
_UNTRAINED, _TRAINED, _SPECIAL = ("2", "32", "4")
Paint = Callable[[str, bool], str]


@dataclass(frozen=True)
class TokenizedRow:
    """Ids and labels of one row: int32 (tokens,) each."""

    row_id: str
    ids: np.ndarray
    labels: np.ndarray

    def counts(self) -> str:
        """Return its id and its lengths in words."""
        trained = int(np.count_nonzero(self.labels != IGNORED))
        row_id = harmless(self.row_id)
        return f"id {row_id}: {len(self.ids):,} tokens, {trained:,} of them trained"


def pieces(row: TokenizedRow, backend: Tokenizer) -> Iterator[tuple[str, bool]]:
    """Yield (text, trained?) for each stretch of tokens that is trained, or is not, in order;
    special tokens are in the text.
    """
    trained = row.labels != IGNORED
    borders = np.flatnonzero(np.diff(trained)) + 1
    for part in np.split(np.arange(len(row.ids)), borders):
        if len(part):
            yield (
                backend.decode(row.ids[part].tolist(), skip_special_tokens=False),
                bool(trained[part[0]]),
            )


def painter(specials: tuple[str, ...]) -> Paint:
    """Return how stretches of text are written: in color on a terminal, else trained ones in
    brackets.
    """
    has_colors = sys.stdout.isatty() and console.use_colour()
    return _colored(specials) if has_colors else _bracketed


def _bracketed(text: str, trained: bool) -> str:
    return f"[[{harmless(text)}]]" if trained else harmless(text)


def _colored(specials: tuple[str, ...]) -> Callable[[str, bool], str]:
    pattern = special_pattern(specials)

    def paint(text: str, trained: bool) -> str:
        style, painted, end = (_TRAINED if trained else _UNTRAINED), "", 0
        for found in pattern.finditer(text):
            painted += _in(style, text[end : found.start()]) + _in(f"{style};{_SPECIAL}", found[0])
            end = found.end()
        return painted + _in(style, text[end:])

    return paint


def _in(style: str, text: str) -> str:
    return f"\x1b[{style}m{harmless(text)}\x1b[0m" if text else ""
