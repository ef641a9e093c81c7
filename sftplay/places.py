"""Paths: data folders by dataset, the model cache.

Paths are relative to the project root, the working directory.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sftplay.errors import NotFoundError
from sftplay.untrusted import read_json

if TYPE_CHECKING:  # pydantic takes 0.2 s, and the command line needs only names from here
    from sftplay.settings import Settings

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"  # on the hub
# A snapshot in the cache of huggingface_hub, which a config may name as a folder.
_IN_HUB_CACHE = re.compile(
    r"/models--(?P<owner>[^/]+?)--(?P<name>[^/]+)/snapshots/(?P<commit>[0-9a-f]{40})$"
)
SPLITS = ("train", "val", "test")
DATA_FOLDERS = ("processed", "processed_with_style", "rendered", "tokenized")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # OWNER/NAME on the hub
OUTPUTS = Path("outputs")


def output_file(given: str) -> Path:
    """Return the file that a person names for a result. Missing folders are made in the project alone.

    Raises:
        NotFoundError: its folder is outside the project and not there: probably a typing error (66).
    """
    path = Path(given)
    folder = path.parent.absolute()
    if not folder.is_dir() and not folder.resolve().is_relative_to(Path.cwd().resolve()):
        raise NotFoundError(
            "no such folder, so nothing is written there",
            where=str(path.parent),
            todo=f"make it first: mkdir -p {path.parent}; or name another place",
        )
    return path


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
    folder = cache_folder() / str(read_json(record, folder=str)["folder"])
    if not (folder / "config.json").is_file():
        raise NotFoundError(
            f"the cache's copy of {name} is gone",
            where=str(folder),
            todo="fetch it again: inv fetch",
        )
    return folder


@dataclass(frozen=True)
class PublishedBase:
    """A base model as others find it.

    Attributes:
        name: hub id, or the name of a local folder.
        revision: commit on the hub, if it is known.
        on_hub: the name is a hub id.
        note: how the trained copy differs from it.
    """

    name: str
    revision: str | None = None
    on_hub: bool = True
    note: str = ""


def published_base(settings: Settings) -> PublishedBase:
    """Return the base model's name outside this machine: no path of it, and none of a container."""
    name = settings.model.name
    if name == DEFAULT_MODEL:
        return PublishedBase(DEFAULT_MODEL_ID, note="trained on its weights in Q4_1, as in GGUF")
    if not is_local_model(name):
        return PublishedBase(name, model_revision(settings))
    folder = Path(name).expanduser().resolve()
    found = _IN_HUB_CACHE.search(folder.as_posix())
    if found:
        return PublishedBase(f"{found['owner']}/{found['name']}", found["commit"])
    return PublishedBase(folder.name, on_hub=False)


def model_revision(settings: Settings) -> str | None:
    """The commit (or package version) that a fetched model resolved to; None for a local folder."""
    record = model_record(settings.model.name, settings.model.revision)
    if is_local_model(settings.model.name) or not record.is_file():
        return None
    return str(read_json(record).get("revision") or "") or None
