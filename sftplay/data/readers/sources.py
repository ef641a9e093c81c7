"""data.raw → files: a folder, a file, a glob, a fetched hub dataset, a list of these.

What is no data file is named, never silently left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from sftplay.console import count_of
from sftplay.data.readers.archives import why_left_out
from sftplay.data.readers.splits import DatasetCard, read_card, split_of_path
from sftplay.errors import ConfigError, DataError, NotFoundError
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


class _Gathered:
    """Files as they are found, each once, whatever names and links lead to it."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, int], RawFile] = {}
        self.skipped: list[SkippedFile] = []
        self.configs: tuple[str, ...] = ()
        self.sources: set[int] = set()  # entries that have a file
        self.shared: dict[tuple[int, int], list[str]] = {}  # two entries → names of their files

    @property
    def files(self) -> tuple[RawFile, ...]:
        return tuple(self._files.values())

    def add(self, file: RawFile) -> None:
        """Add a file; one that is there already is noted."""
        self.sources.add(file.source)
        stat = file.path.stat()
        first = self._files.setdefault((stat.st_dev, stat.st_ino), file)
        if first.name != file.name:
            self.skipped.append(SkippedFile(file.name, f"the same file as {first.name}"))
        if first.source != file.source:
            self.shared.setdefault((first.source, file.source), []).append(file.name)


def find(raw: str | list[str], *, apart: bool = False) -> RawFiles:
    """Return every file that data.raw or data.mix names, each once.

    Args:
        apart: no file may belong to two entries: those of data.mix.

    Raises:
        NotFoundError: a name that is not there, a hub dataset that was not fetched (66). DataError:
            nothing with rows in it (65). ConfigError: files of two entries (78).
    """
    entries = [raw] if isinstance(raw, str) else raw
    found = _Gathered()
    for source, entry in enumerate(entries):
        _gather(found, source, entry)
    if apart and found.shared:
        raise _overlap(entries, found.shared)
    empty = [entry for source, entry in enumerate(entries) if source not in found.sources]
    if empty and (apart or not found.files):
        others = "".join(f"\n  {each}" for each in found.skipped[:5])
        names = ", ".join(empty)
        raise DataError(
            f"no data files ({KNOWN}){others}", where=names, todo=f"put your file into {names}"
        )
    found.skipped += [SkippedFile(entry, "no data files in it") for entry in empty]
    return RawFiles(found.files, tuple(found.skipped), found.configs)


def _gather(found: _Gathered, source: int, entry: str) -> None:
    """Add the files of one entry."""
    dataset = hub_dataset(entry)
    if dataset is not None:
        for path, name in dataset.files():
            split = split_of_path(PurePath(name).relative_to(dataset.title))
            found.add(RawFile(path, kind_of(path), name, split, source))
        return
    place = Path(entry).expanduser()
    if place.is_dir():
        card = read_card(place)
        found.configs += card.configs if len(card.configs) > 1 else ()
        for path in files_below(place):
            reason = _why_skipped(path)
            if reason:
                describes = path.name in (*METADATA, "README.md")
                found.skipped.append(SkippedFile(name_of(path), reason, describes))
            else:
                found.add(_raw_file(path, path.relative_to(place), source, card))
        return
    for path in _named(place, entry):
        if not kind_of(path):
            what = f"not a kind of file that can be read ({KNOWN})"
            raise DataError(what, where=name_of(path), todo=why_left_out(path))
        found.add(_raw_file(path, Path(path.name), source))


def _overlap(
    entries: Sequence[str], shared: Mapping[tuple[int, int], Sequence[str]]
) -> ConfigError:
    lines = [
        f"{entries[one]} and {entries[other]} share {count_of(len(names), 'file')}, such as {names[0]}"
        for (one, other), names in sorted(shared.items())
    ]
    listing = "\n".join(f"  {line}" for line in [*lines[:20], *(["…"] if len(lines) > 20 else [])])
    return ConfigError(
        f"data.mix: a row counts for one source only, and these sources overlap\n{listing}",
        todo="name each file in one source: several files or globs instead of a folder that holds"
        " another source, or one entry for both",
    )


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
