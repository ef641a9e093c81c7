"""The amount of training data: rows and tokens, from the tokenized data's stamp or guessed from the
size of raw files.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sftplay.errors import DataError, NotFoundError
from sftplay.files import explain_os_error
from sftplay.freshness import read_stamp
from sftplay.host.estimate.forecast import TrainingRows
from sftplay.places import data_folder
from sftplay.rawdata import METADATA, files_below, hub_dataset, kind_of
from sftplay.settings import Settings

CHARACTERS_A_TOKEN = 4.0  # English text with a vocabulary of 30,000 to 150,000
TEMPLATE_TOKENS = 30  # what a chat template adds to a row: headers, a default system turn
ANSWER_SHARE = 0.5  # trained part of a row, where nothing better is known
_ROW_BYTES = 700  # a row of JSON whose rows can't be counted by lines
_PACKED = {".gz": 4.0, ".zst": 4.0, ".parquet": 2.5}  # how much text a packed byte holds
_LINES = {".jsonl", ".ndjson", ".csv", ".tsv"}


def find_rows(settings: Settings) -> TrainingRows | None:
    """The train split: from data/tokenized where that is made, else guessed from the raw files;
    None for a hub dataset that is not fetched yet.

    Raises:
        DataError: an empty train split, or no raw data (65). NotFoundError: a raw file that is not
            there (66).
    """
    folder = data_folder("tokenized", settings)
    stamp = read_stamp(folder)
    if stamp is None:
        return guess_rows(settings)
    count = stamp.facts["rows"]["train"]
    if not count:
        raise DataError(
            "the train split is empty", where=str(folder), todo="see data/processed/report.json"
        )
    tokens, trained = (
        stamp.facts["tokens"]["train"] / count,
        stamp.facts["trained_tokens"]["train"] / count,
    )
    return TrainingRows(count, tokens, trained, stamp.facts["max_tokens"], str(folder), exact=True)


def guess_rows(settings: Settings) -> TrainingRows | None:
    """Rows and tokens by file sizes, about four characters a token; None for a hub dataset that is
    not fetched yet.

    Raises:
        DataError: an empty folder (65). NotFoundError: nothing there (66).
    """
    sources = [list(raw_files(name)) for name in settings.data.sources]
    files = [file for source in sources for file in source]
    mix = settings.data.mix
    if not files or (mix and not all(sources)):
        return None
    sizes = [_rows_and_text(source) for source in sources]
    if mix:
        sizes = _mixed(sizes, [mix[name] for name in settings.data.sources])
    rows, text = (sum(column) for column in zip(*sizes, strict=True))
    count = max(round(rows * (1 - settings.data.val_share - settings.data.test_share)), 1)
    tokens = text / max(rows, 1) / CHARACTERS_A_TOKEN + TEMPLATE_TOKENS
    names = files[0].name if len(files) == 1 else f"{len(files)} files"
    return TrainingRows(
        count, tokens, tokens * ANSWER_SHARE, round(3 * tokens), f"{names}, by size", exact=False
    )


def _rows_and_text(files: Iterable[Path]) -> tuple[float, float]:
    """Return rows of some files, and bytes of text, about."""
    rows, text = 0.0, 0.0
    for file in files:
        size = file.stat().st_size * _PACKED.get(file.suffix, 1.0)
        text += size
        rows += _count_lines(file) if file.suffix in _LINES else size / _ROW_BYTES
    return rows, text


def _mixed(
    sizes: Sequence[tuple[float, float]], weights: Sequence[float]
) -> list[tuple[float, float]]:
    """Return the same of the rows that `data.mix` takes: until a source has no more."""
    rounds = min(rows / weight for (rows, _), weight in zip(sizes, weights, strict=True))
    return [
        (weight * rounds, text * weight * rounds / max(rows, 1))
        for (rows, text), weight in zip(sizes, weights, strict=True)
    ]


def raw_files(name: str) -> Iterator[Path]:
    """The files that an entry of data.raw or data.mix names: a folder's data files, a glob's, a
    single file. A hub dataset that is not fetched yet gives none.

    Raises:
        DataError: an empty folder (65). NotFoundError: nothing there (66).
    """
    path = Path(name).expanduser()
    if path.is_dir():
        found = [
            file
            for file in files_below(path)
            if kind_of(file) and file.is_file() and file.name not in METADATA
        ]
        if not found:
            raise DataError(
                "no data there",
                where=name,
                todo="put a file there (jsonl, json, csv, parquet …), or run: inv quickstart",
            )
    else:
        found = [path] if path.is_file() else [Path(p) for p in sorted(glob.glob(str(path)))]  # noqa: PTH207 - absolute patterns too
        dataset = hub_dataset(name)
        if dataset is not None:
            found = [file for file, _ in dataset.files()] if dataset.is_cached else []
        elif not found:
            raise NotFoundError(
                "no such data", where=name, todo="check data.raw or data.mix in the config"
            )
    yield from found


def _count_lines(file: Path) -> int:
    """Lines with something in them, about: newlines, read in 1 MiB pieces."""
    try:
        with open(file, "rb") as source:
            return sum(piece.count(b"\n") for piece in iter(lambda: source.read(1 << 20), b"")) or 1
    except OSError as error:
        raise explain_os_error(error, file) from error
