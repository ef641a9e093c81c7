"""Data that a task file of lm-eval names: files inside the project, and datasets of the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sftplay.errors import ConfigError, NotFoundError
from sftplay.rawdata import HubDataset

# Builders of the datasets library that read local files.
LOCAL_FORMATS = ("json", "csv", "parquet", "arrow", "text")


def data_files(part: Mapping[str, Any], path: Path) -> Iterator[Path]:
    """Yield the local files that a task reads.

    Raises:
        ConfigError: an address, or a path outside of the project (78). NotFoundError: no such
            file (66).
    """
    options = part.get("dataset_kwargs")
    given = options if isinstance(options, Mapping) else {}
    for key in ("data_files", "data_dir"):
        for word in _words(given.get(key)):
            for file in _inside(word, path, f"dataset_kwargs.{key}"):
                if key == "data_files" and file.is_dir():
                    raise ConfigError(
                        f"dataset_kwargs.data_files: {file} is a folder",
                        where=str(path),
                        todo=f"name its files: {file}/*.jsonl",
                    )
                yield file
    named = part.get("dataset_path")
    if isinstance(named, str) and named not in LOCAL_FORMATS and _is_path(named):
        if Path(named).is_file():
            raise ConfigError(
                f"dataset_path: {named} is a file, not the format of one ({', '.join(LOCAL_FORMATS)})",
                where=str(path),
                todo=f"dataset_path: json, and dataset_kwargs: {{data_files: {{test: {named}}}}}",
            )
        yield from _inside(named, path, "dataset_path")


def _words(value: Any) -> Iterator[str]:
    """Yield the texts of a text, a list, or a mapping of them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list):
            yield from map(str, one)
        elif one is not None:
            yield str(one)


def _is_path(named: str) -> bool:
    return named.startswith(("/", ".", "~")) or Path(named).exists()


def _inside(word: str, path: Path, key: str) -> Iterator[Path]:
    """Yield the files that a word of a task file means, by the rules of the datasets library."""
    if "://" in word or "::" in word:
        raise ConfigError(
            f"{key}: {word} is an address; evaluations have no network",
            where=str(path),
            todo="download the file, and name it",
        )
    root = Path.cwd().resolve()
    pattern = any(mark in word for mark in "*?[")
    if word.startswith("~") or ".." in Path(word).parts or not _leads_into(root, root / word):
        raise _leaves(word, path, key)
    found = sorted(root.glob(word)) if pattern and not Path(word).is_absolute() else [root / word]
    if not found or not all(one.exists() for one in found):
        raise NotFoundError(
            f"{key}: no such file: {word}",
            where=str(path),
            todo="paths in a task file are relative to the project's folder",
        )
    for one in found:
        if not _leads_into(root, one):
            raise _leaves(word, path, key)
        yield one.relative_to(root)


def _leads_into(root: Path, place: Path) -> bool:
    """Return whether a path, its links followed, is inside of the project."""
    return place.resolve().is_relative_to(root)


def _leaves(word: str, path: Path, key: str) -> ConfigError:
    return ConfigError(
        f"{key}: {word} leads out of the project",
        where=str(path),
        todo="copy the file into the project, and name that copy",
    )


def hub_datasets(part: Mapping[str, Any]) -> Iterator[HubDataset]:
    """Yield the dataset of the hub that a task reads, if it does."""
    named = part.get("dataset_path")
    if isinstance(named, str) and named not in LOCAL_FORMATS and not _is_path(named):
        options = part.get("dataset_kwargs")
        revision = options.get("revision") if isinstance(options, Mapping) else None
        yield HubDataset(named, None if revision is None else str(revision))
