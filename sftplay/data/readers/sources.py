"""data.raw → files: a folder, a file, a glob, a fetched hub dataset, a list of these.

What is no data file is named, never silently left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftplay.errors import DataError, NotFoundError
from sftplay.rawdata import hub_dataset, kind_of

KNOWN = "jsonl, json, csv, tsv or parquet, also packed as .gz or .zst"


@dataclass(frozen=True)
class RawFile:
    """A file with rows.

    `kind` is one of the values of rawdata.KINDS; `name` is what messages and reports call it.
    """

    path: Path
    kind: str
    name: str


@dataclass(frozen=True)
class RawFiles:
    """The files that data.raw names, in order, and those in its folders that are no data files."""

    files: tuple[RawFile, ...]
    skipped: tuple[str, ...]


def find(raw: str | list[str]) -> RawFiles:
    """Return every file that data.raw names, each once.

    Raises:
        NotFoundError: a name that is not there, a hub dataset that was not fetched (66). DataError:
            nothing with rows in it (65).
    """
    files: dict[Path, RawFile] = {}
    skipped: list[str] = []
    for entry in [raw] if isinstance(raw, str) else raw:
        dataset = hub_dataset(entry)
        if dataset is not None:
            for path, name in dataset.files():
                files.setdefault(path.resolve(), RawFile(path, kind_of(path), name))
            continue
        for path, asked_for in _paths(entry):
            kind = kind_of(path)
            if kind:
                files.setdefault(path.resolve(), RawFile(path, kind, name_of(path)))
            elif asked_for:
                raise DataError(
                    f"not a kind of file that can be read ({KNOWN})", where=name_of(path)
                )
            else:
                skipped.append(name_of(path))
    if not files:
        others = f"; there is only {', '.join(skipped[:3])}" if skipped else ""
        names = raw if isinstance(raw, str) else ", ".join(raw)
        raise DataError(
            f"no data files ({KNOWN}){others}", where=names, todo=f"put your file into {names}"
        )
    return RawFiles(tuple(files.values()), tuple(skipped))


def name_of(path: Path) -> str:
    """Return the path as text that can be written as UTF-8: bytes of other encodings are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _paths(entry: str) -> Iterator[tuple[Path, bool]]:
    """Yield (path, named by the user himself) for one entry of data.raw, in name order."""
    place = Path(entry).expanduser()
    if place.is_dir():
        inside = (path for path in sorted(place.rglob("*")) if path.is_file())
        yield from ((path, False) for path in inside if not _is_hidden(path.relative_to(place)))
    elif place.exists():
        yield place, True
    elif any(mark in entry for mark in "*?["):
        found = [path for path in sorted(_glob(place)) if path.is_file()]
        if not found:
            raise NotFoundError(
                "no file fits this pattern", where=entry, todo="check data.raw in the config"
            )
        yield from ((path, True) for path in found)
    else:
        todo = f"make it and put your file there ({KNOWN}), or set data.raw to where the file lies"
        raise NotFoundError("no such file or folder", where=entry, todo=todo)


def _glob(pattern: Path) -> Iterator[Path]:
    root = Path(pattern.anchor) if pattern.is_absolute() else Path()
    return root.glob(str(pattern.relative_to(pattern.anchor)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
