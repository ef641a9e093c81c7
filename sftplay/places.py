"""Paths: data folders by dataset, the model cache.

Paths are relative to the project root, the working directory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sftplay.errors import NotFoundError
from sftplay.files import read_json

if TYPE_CHECKING:  # pydantic takes 0.2 s, and the command line needs only names from here
    from sftplay.settings import Settings

DEFAULT_MODEL = "smollm2-135m-instruct"
SPLITS = ("train", "val", "test")
DATA_FOLDERS = ("processed", "processed_with_style", "rendered", "tokenized")
OUTPUTS = Path("outputs")


def data_folder(kind: str, settings: Settings) -> Path:
    """data/<kind>, or data/<kind>_<suffix> for a named dataset."""
    suffix = settings.data.suffix
    return Path("data") / (f"{kind}_{suffix}" if suffix else kind)


def cache_folder() -> Path:
    """SFTPLAY_CACHE, else the user's cache folder. Mounted into every stack."""
    given = os.environ.get("SFTPLAY_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sftplay"


def model_record(name: str, revision: str | None) -> Path:
    """The file in the cache that says where a fetched model lies: written last by `fetch`, so it
    vouches for the rest.
    """
    safe = name.replace("/", "--")
    return cache_folder() / "models" / f"{safe}@{revision or 'main'}.json"


def is_local_model(name: str) -> bool:
    """A model name that is a folder on this disk."""
    return name != DEFAULT_MODEL and (
        name.startswith(("/", "./", "../", "~")) or Path(name).expanduser().is_dir()
    )


def find_model(settings: Settings) -> Path:
    """Folder with the model's config, weights and tokenizer.

    Raises:
        NotFoundError: not cached, or not there; says how to get it (66).
    """
    name, revision = settings.model.name, settings.model.revision
    if is_local_model(name):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise NotFoundError(
                "no model there (a folder with config.json is wanted)",
                where=name,
                todo="check model.name in the config",
            )
        return folder
    record = model_record(name, revision)
    if not record.is_file():
        raise NotFoundError(
            f"the model {name} is not in the cache",
            where=str(cache_folder()),
            todo="fetch it first: inv fetch (or python -m sftplay fetch), with the same --config",
        )
    folder = cache_folder() / str(read_json(record)["folder"])
    if not (folder / "config.json").is_file():
        raise NotFoundError(
            f"the cache's copy of {name} is gone",
            where=str(folder),
            todo="fetch it again: inv fetch",
        )
    return folder


def model_revision(settings: Settings) -> str | None:
    """The commit (or package version) that a fetched model resolved to; None for a local folder."""
    record = model_record(settings.model.name, settings.model.revision)
    if is_local_model(settings.model.name) or not record.is_file():
        return None
    return str(read_json(record).get("revision") or "") or None
