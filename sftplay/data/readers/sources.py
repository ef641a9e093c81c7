"""data.raw → files: a folder, a file, a glob, a fetched hub dataset, a list of these.

What is no data file is named, never silently left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from sftplay.data.readers.archives import why_left_out
from sftplay.data.readers.splits import DatasetCard, read_card, split_of_path
from sftplay.errors import DataError, NotFoundError
from sftplay.rawdata import METADATA, files_below, hub_dataset, kind_of

KNOWN = "jsonl, json, csv, tsv, parquet or arrow, also packed as .gz or .zst"


@dataclass(frozen=True)
class RawFile:
    """A file with rows.

    Attributes:
        kind: one of the values of rawdata.KINDS.
        name: what messages and reports call it.
        split: train, val or test, where its name, its folder or a dataset card says so.
        source: number of the entry of data.raw or data.mix that it belongs to.
    """

    path: Path
    kind: str
    name: str
    split: str = ""
    source: int = 0


@dataclass(frozen=True)
class SkippedFile:
    """A file that is not read, and why; `is_description`: it only describes the others."""

    name: str
    reason: str
    is_description: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class RawFiles:
    """The files that data.raw names, in order, and those in its folders that are not read.

    `configs`: configurations of a dataset of which several are read together.
    """

    files: tuple[RawFile, ...]
    skipped: tuple[SkippedFile, ...]
    configs: tuple[str, ...] = ()


def find(raw: str | list[str]) -> RawFiles:
    """Return every file that data.raw names, each once.

    Raises:
        NotFoundError: a name that is not there, a hub dataset that was not fetched (66). DataError:
            nothing with rows in it (65).
    """
    files: dict[Path, RawFile] = {}
    skipped: list[SkippedFile] = []
    configs: tuple[str, ...] = ()
    for source, entry in enumerate([raw] if isinstance(raw, str) else raw):
        dataset = hub_dataset(entry)
        if dataset is not None:
            for path, name in dataset.files():
                split = split_of_path(PurePath(name).relative_to(dataset.name))
                files.setdefault(path.resolve(), RawFile(path, kind_of(path), name, split, source))
            continue
        place = Path(entry).expanduser()
        if place.is_dir():
            card = read_card(place)
            configs += card.configs if len(card.configs) > 1 else ()
            for path in files_below(place):
                reason = _why_skipped(path)
                if reason:
                    describes = path.name in (*METADATA, "README.md")
                    skipped.append(SkippedFile(name_of(path), reason, describes))
                else:
                    file = _raw_file(path, path.relative_to(place), source, card)
                    files.setdefault(path.resolve(), file)
            continue
        for path in _named(place, entry):
            if not kind_of(path):
                what = f"not a kind of file that can be read ({KNOWN})"
                raise DataError(what, where=name_of(path), todo=why_left_out(path))
            files.setdefault(path.resolve(), _raw_file(path, Path(path.name), source))
    if not files:
        others = "".join(f"\n  {each}" for each in skipped[:5])
        names = raw if isinstance(raw, str) else ", ".join(raw)
        raise DataError(
            f"no data files ({KNOWN}){others}", where=names, todo=f"put your file into {names}"
        )
    return RawFiles(tuple(files.values()), tuple(skipped), configs)


def _why_skipped(path: Path) -> str:
    """Explain why a file of a folder is not read; empty where it is."""
    if not path.exists():
        return f"a link to {path.readlink()}, which is not there"
    if path.name in METADATA:
        return "describes a dataset, holds no rows"
    return "" if kind_of(path) else why_left_out(path)


def _raw_file(
    path: Path, inside: PurePath, source: int, card: DatasetCard | None = None
) -> RawFile:
    split = (card or DatasetCard()).split_of(inside)
    return RawFile(path, kind_of(path), name_of(path), split, source)


def name_of(path: Path) -> str:
    """Return the path as text that can be written as UTF-8: bytes of other encodings are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _named(place: Path, entry: str) -> Iterator[Path]:
    """Yield the file that an entry of data.raw names, or those that fit its pattern, in name order."""
    if place.exists():
        yield place
    elif place.is_symlink():
        what = f"a link to {place.readlink()}, which is not there"
        raise NotFoundError(what, where=entry, todo="put the file there, or make the link again")
    elif any(mark in entry for mark in "*?["):
        found = [path for path in sorted(_glob(place)) if path.is_file()]
        if not found:
            raise NotFoundError(
                "no file fits this pattern",
                where=entry,
                todo="check data.raw or data.mix in the config",
            )
        yield from found
    else:
        todo = f"make it and put your file there ({KNOWN}), or set data.raw or data.mix to where the file lies"
        raise NotFoundError("no such file or folder", where=entry, todo=todo)


def _glob(pattern: Path) -> Iterator[Path]:
    root = Path(pattern.anchor) if pattern.is_absolute() else Path()
    return root.glob(str(pattern.relative_to(pattern.anchor)))
