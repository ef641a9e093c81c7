"""Stage `show`: tokenized rows on the screen, as the model sees them; what is trained stands out.

Writes nothing.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sftplay import console
from sftplay.data import tokenize
from sftplay.data.tokenizing.artifact import IGNORED, batches_of, read_split
from sftplay.data.tokenizing.special_tokens import special_pattern
from sftplay.data.tokenizing.tokenizer import load_backend, read_tokenizer
from sftplay.errors import NotFoundError, RefusedError, UsageError
from sftplay.freshness import read_stamp, warn_if_behind
from sftplay.places import SPLITS, data_folder, find_model
from sftplay.stages import Job

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_UNTRAINED, _TRAINED, _SPECIAL = (
    "2",
    "32",
    "4",
)  # dim, green, underlined (ECMA-48, select graphic rendition)
_PLAIN_CONTROLS = "\n\t"


@dataclass(frozen=True)
class Shown:
    """One row of a split; `number` counts from 1. ids, labels: int32 (tokens,)."""

    split: str
    number: int
    row_id: str
    ids: np.ndarray
    labels: np.ndarray


def run(job: Job) -> None:
    """Print rows of data/tokenized on stdout.

    Raises:
        NotFoundError: nothing tokenized, no such row, no model (66). RefusedError: tokenized for
            another model (76).
    """
    folder = data_folder("tokenized", job.settings)
    split, count, row_id = job.options["split"], job.options["count"], job.options["row"]
    if count < 1:
        raise UsageError(f"--count requires at least 1, got {count}")
    tokenizer = read_tokenizer(find_model(job.settings))
    _check(job, folder, tokenizer.hash)
    paint = _coloured(tuple(tokenizer.special)) if _has_colours() else _bracketed
    backend = load_backend(tokenizer.folder)
    rows = _by_id(folder, row_id, split) if row_id else islice(_rows(folder, split), count)
    first = next(rows, None)
    if first is None:
        _nothing(folder, split, row_id)
        return
    for row in chain((first,), rows):
        console.result(_heading(row))
        console.result(
            "".join(paint(text, trained) for text, trained in pieces(row, backend)) + "\n"
        )


def _nothing(folder: Path, split: str, row_id: str | None) -> None:
    if row_id:
        todo = "ids stand in data/processed; a row that was set aside or too long is not tokenized"
        raise NotFoundError(f"no tokenized row has the id {row_id}", where=str(folder), todo=todo)
    console.warning(f"the {split} split is empty")


def pieces(row: Shown, backend: Tokenizer) -> Iterator[tuple[str, bool]]:
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


def _check(job: Job, folder: Path, tokenizer_hash: str) -> None:
    stamp = read_stamp(folder)
    if stamp is None:
        raise NotFoundError("no tokenized rows", where=str(folder), todo="make them: inv tokenize")
    if stamp.facts["tokenizer_hash"] != tokenizer_hash:
        raise RefusedError(
            f"the rows were tokenized for another tokenizer than that of {job.settings.model.name}",
            where=str(folder),
            todo="render and tokenize them again: inv render, inv tokenize",
        )
    if warn_if_behind(job.settings):
        return
    if reason := tokenize.freshness(job):
        console.warning(
            f"{folder} is not current ({reason}): `inv tokenize` makes it again, then repeat this"
        )


def _rows(folder: Path, split: str) -> Iterator[Shown]:
    number = 0
    for batch in batches_of(read_split(folder / f"{split}.arrow")):
        ends = np.cumsum(batch.lengths)
        for row_id, start, end in zip(batch.ids, ends - batch.lengths, ends, strict=True):
            number += 1
            yield Shown(split, number, row_id, batch.tokens[start:end], batch.labels[start:end])


def _by_id(folder: Path, row_id: str, first: str) -> Iterator[Shown]:
    """Yield the row of that id, whatever split it is in; all of its rows where `data.turns: unroll`
    made several.
    """
    for split in (first, *(other for other in SPLITS if other != first)):
        for row in _rows(folder, split):
            if row.row_id == row_id or row.row_id.rpartition("-")[0] == row_id:
                yield row


def _heading(row: Shown) -> str:
    trained = int(np.count_nonzero(row.labels != IGNORED))
    return f"── {row.split}, row {row.number:,}, id {_visible(row.row_id)}: {len(row.ids):,} tokens, {trained:,} of them trained"


def _has_colours() -> bool:
    return sys.stdout.isatty() and console.use_colour()


def _bracketed(text: str, trained: bool) -> str:
    return f"[[{_visible(text)}]]" if trained else _visible(text)


def _coloured(specials: tuple[str, ...]) -> Callable[[str, bool], str]:
    pattern = special_pattern(specials)

    def paint(text: str, trained: bool) -> str:
        style, painted, end = (_TRAINED if trained else _UNTRAINED), "", 0
        for found in pattern.finditer(text):
            painted += _in(style, text[end : found.start()]) + _in(f"{style};{_SPECIAL}", found[0])
            end = found.end()
        return painted + _in(style, text[end:])

    return paint


def _in(style: str, text: str) -> str:
    return f"\x1b[{style}m{_visible(text)}\x1b[0m" if text else ""


def _visible(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters (Unicode's category Cc) are
    written as escapes.
    """
    if text.isprintable():
        return text
    return "".join(
        repr(char)[1:-1]
        if unicodedata.category(char) == "Cc" and char not in _PLAIN_CONTROLS
        else char
        for char in text
    )
