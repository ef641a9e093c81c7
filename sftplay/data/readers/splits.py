"""Splits that raw data brings along: files, folders and top-level keys named train, validation or
test, and the files that a dataset card assigns to splits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any

import yaml

# The names that Hugging Face's datasets looks for.
_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_CARD_BYTES = 1 << 20


def split_named(name: str) -> str:
    """Return the split (train, val, test) that a folder or a key names; empty where it names none."""
    return _NAMES.get(name.lower(), "")


def split_of_path(path: PurePath) -> str:
    """Return the split of a file by its name (`train-00000-of-00002.parquet`, `gsm8k_test.jsonl`),
    else by its nearest folder's.
    """
    words = re.split(r"[-_. ]", path.name.lower())
    found = dict.fromkeys(_NAMES[word] for word in words if word in _NAMES)
    if len(found) == 1:
        return next(iter(found))
    return next((split for part in reversed(path.parent.parts) if (split := split_named(part))), "")


@dataclass(frozen=True)
class DatasetCard:
    """Files listed in the front matter of a dataset's README.md (Hugging Face, "Manual
    Configuration" of dataset cards).

    Attributes:
        configs: names of the configurations that list their files.
        patterns: (pattern below the folder, split), in order.
    """

    configs: tuple[str, ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()

    def split_of(self, path: PurePath) -> str:
        """Return the split of a file; by its path where the card does not name it."""
        name = path.as_posix()
        named = (split for pattern, split in self.patterns if fnmatch(name, pattern))
        return next(named, "") or split_of_path(path)


def read_card(folder: Path) -> DatasetCard:
    """Return the card of a dataset folder; an empty one where there is none, or it lists no files."""
    try:
        with open(folder / "README.md", encoding="utf-8", errors="replace") as card:
            matter = _FRONT_MATTER.match(card.read(_CARD_BYTES))
        said = yaml.safe_load(matter[1]) if matter else None
    except (OSError, yaml.YAMLError):
        return DatasetCard()
    configs = said.get("configs") if type(said) is dict else None
    known = [one for one in _listed(configs) if type(one) is dict and one.get("data_files")]
    names = tuple(str(one.get("config_name", "default")) for one in known)
    return DatasetCard(names, tuple(entry for one in known for entry in _patterns(one)))


def _patterns(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (pattern, split) of one configuration."""
    below = str(config.get("data_dir") or "")
    files = (
        entry if type(entry) is dict else {"split": "train", "path": entry}
        for entry in _listed(config["data_files"])
    )
    return [
        ((PurePath(below) / str(pattern)).as_posix(), split_named(str(entry.get("split", "train"))))
        for entry in files
        for pattern in _listed(entry.get("path"))
    ]


def _listed(value: Any) -> Sequence[Any]:
    return value if type(value) is list else [] if value is None else [value]
