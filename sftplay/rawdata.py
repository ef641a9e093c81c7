"""Values of data.raw: kinds of files by suffix, and datasets of the hub, which `fetch` brings into
the cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftplay.errors import NotFoundError
from sftplay.files import hash_bytes
from sftplay.places import cache_folder
from sftplay.settings import DataSettings
from sftplay.untrusted import read_json

KINDS = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
PACKED = (".gz", ".zst")
# Files that describe a dataset of Hugging Face's and hold no rows.
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_DATASET = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?(:(?P<pattern>[^:]+))?"
)
_ANYWHERE = tuple(f"*{kind}{packed}" for kind in KINDS for packed in ("", *PACKED))


@dataclass(frozen=True)
class HubDataset:
    """`owner/name`, `owner/name@revision`, `owner/name:main/train*` or both: a dataset of the hub,
    or some of its files.
    """

    name: str
    revision: str | None = None
    pattern: str | None = None

    @property
    def title(self) -> str:
        """Return name and revision: two revisions of a dataset are two sources of a mix."""
        return f"{self.name}@{self.revision}" if self.revision else self.name

    @property
    def patterns(self) -> tuple[str, ...]:
        """Return the files that are wanted, as shell patterns in which `*` crosses folders; a
        folder stands for all in it.
        """
        if self.pattern is None:
            return _ANYWHERE
        plain = not kind_of(Path(self.pattern)) and not any(mark in self.pattern for mark in "*?[")
        return (f"{self.pattern.rstrip('/')}/*",) if plain else (self.pattern,)

    @property
    def record(self) -> Path:
        """The file in the cache that lists the fetched files: written last by `fetch`, so it
        vouches for them.
        """
        part = (
            f"-{hash_bytes(self.pattern.encode()).rpartition(':')[2][:12]}" if self.pattern else ""
        )
        safe = f"{self.name}@{self.revision or 'main'}".replace("/", "--")
        return cache_folder() / "datasets" / f"{safe}{part}.json"

    @property
    def folder(self) -> Path:
        """Return the fetched snapshot; the last part of its path is the commit.

        Raises:
            NotFoundError: as `files` (66).
        """
        self.files()
        return cache_folder() / str(read_json(self.record, folder=str)["folder"])

    def files(self) -> list[tuple[Path, str]]:
        """(path, name in messages) of every fetched file, in name order.

        Raises:
            NotFoundError: not fetched, or gone from the cache (66).
        """
        again = "inv fetch (or python -m sftplay fetch), with the same --config"
        if not self.record.is_file():
            raise NotFoundError(
                f"no such file or folder, and the dataset {self.name} of the hub is not in the cache",
                where=str(self.record.parent),
                todo=f"fetch it first: {again}",
            )
        found = read_json(self.record, folder=str, files=list)
        folder = cache_folder() / found["folder"]
        files = [(folder / str(name), f"{self.title}/{name}") for name in found["files"]]
        if gone := [path for path, _ in files if not path.is_file()]:
            todo = f"fetch it again: {again}"
            raise NotFoundError(
                f"the cache's copy of {self.name} is not whole", where=str(gone[0]), todo=todo
            )
        return files

    @property
    def is_cached(self) -> bool:
        """True if no fetch is needed."""
        try:
            self.files()
        except NotFoundError:
            return False
        return True


def kind_of(path: Path) -> str:
    """Kind by suffix, empty for other files."""
    name = path.name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return KINDS.get(Path(name).suffix, "")


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, in name order, dangling links included; names that begin
    with a dot are left out. A link to a folder is followed, but no folder is read twice.
    """
    yield from sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    seen = {folder.resolve()}
    for place, folders, names in os.walk(folder, followlinks=True):
        kept = []
        for name in sorted(folders):
            real = Path(place, name).resolve()
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        yield from (Path(place, name) for name in names if not name.startswith("."))


def hub_dataset(entry: str) -> HubDataset | None:
    """The hub dataset that an entry of data.raw names; None for a path. What lies on this disk is
    never one.
    """
    place = Path(entry).expanduser()
    found = _DATASET.fullmatch(entry)
    if found is None or place.exists():
        return None
    owner = Path(found["name"])
    if kind_of(owner) or owner.parent.is_dir() or entry.startswith(("data/", "raw/")):
        return None  # a file, or something missing in a folder of one's own
    return HubDataset(found["name"], found["revision"], found["pattern"])


def hub_datasets(settings: DataSettings) -> Iterator[HubDataset]:
    """Every hub dataset that data.raw or data.mix names."""
    for entry in settings.sources:
        dataset = hub_dataset(entry)
        if dataset is not None:
            yield dataset
