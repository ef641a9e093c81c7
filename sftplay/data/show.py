"""Stage `show`: tokenized rows on the screen, as the model sees them; what is trained stands out.

Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from sftplay import console
from sftplay.data import tokenize
from sftplay.data.row_view import TokenizedRow, painter, pieces
from sftplay.data.tokenizing.artifact import batches_of, read_split
from sftplay.data.tokenizing.tokenizer import load_backend, read_tokenizer
from sftplay.errors import NotFoundError, RefusedError, UsageError
from sftplay.freshness import read_stamp, warn_if_behind
from sftplay.places import SPLITS, data_folder, find_model
from sftplay.stages import Job

_SHOWN = 150  # characters at each end of a stretch in an excerpt
Shown = tuple[str, int, TokenizedRow]  # split, number from 1, row


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
    paint = painter(tuple(tokenizer.special))
    backend = load_backend(tokenizer.folder)
    rows = _by_id(folder, row_id, split) if row_id else islice(_rows(folder, split), count)
    first = next(rows, None)
    if first is None:
        _nothing(folder, split, row_id)
        return
    for of, number, row in chain((first,), rows):
        console.result(f"── {of}, row {number:,}, {row.counts()}")
        console.result(
            "".join(paint(text, trained) for text, trained in pieces(row, backend)) + "\n"
        )


def excerpt(folder: Path, model: Path) -> str:
    """Return the first training row as the model sees it, trained text in [[ ]], long stretches
    shortened.
    """
    _, _, row = next(_rows(folder, "train"))
    backend = load_backend(read_tokenizer(model).folder)
    return "".join(
        f"[[{_shortened(text)}]]" if trained else _shortened(text)
        for text, trained in pieces(row, backend)
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]} … {text[-_SHOWN:]}"


def _nothing(folder: Path, split: str, row_id: str | None) -> None:
    if row_id:
        todo = "ids stand in data/processed; a row that was set aside or too long is not tokenized"
        raise NotFoundError(f"no tokenized row has the id {row_id}", where=str(folder), todo=todo)
    console.warning(f"the {split} split is empty")


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
            row = TokenizedRow(row_id, batch.tokens[start:end], batch.labels[start:end])
            yield split, number, row


def _by_id(folder: Path, row_id: str, first: str) -> Iterator[Shown]:
    """Yield the row of that id, whatever split it is in; all of its rows where `data.turns: unroll`
    made several.
    """
    for split in (first, *(other for other in SPLITS if other != first)):
        for of, number, row in _rows(folder, split):
            if row.row_id == row_id or row.row_id.rpartition("-")[0] == row_id:
                yield of, number, row
