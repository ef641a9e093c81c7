"""images/published.lock: where the image of each stack was published, and the digest by which it is
pulled.

    schema: 1
    images:
      cpu:
        repository: registry.example/sftplay/cpu
        tag: 70ff3f296512        # first 12 of `context`
        digest: sha256:…         # of the manifest: what is pulled
        config: sha256:…         # the image's id where the engine keeps images the classic way
        context: sha256:…        # what it is made from; lock: of its requirements.lock
        lock: sha256:…
        base: debian:bookworm-slim@sha256:…
        revision: <commit>
        verified: what was run in it
        platform: linux/amd64
        size: 2230000000         # bytes, unpacked

A checkout's file is in git. An installed sftplay has the file of its release; what `inv image.push`
writes goes into the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sftplay.errors import ConfigError
from sftplay.files import write_text
from sftplay.host.system.checkout import CHECKOUT, PROJECT
from sftplay.yamlfile import read_yaml

PATH = Path("images/published.lock")
_HEAD = "# The digest of every published image. `inv image.push` writes this file, `inv image.pull` reads it.\n"
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
# host[:port]/path, as the distribution spec writes names; a host without a dot or port would mean
# Docker Hub
Repository = Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$")]


class PublishedImage(BaseModel):
    """One published image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: Repository
    tag: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    digest: Digest
    config: Digest
    context: Digest
    lock: Digest
    base: str
    revision: str
    verified: str
    platform: Literal["linux/amd64"] = "linux/amd64"
    size: int

    @property
    def reference(self) -> str:
        """Return the name to pull by: never a tag, which may move."""
        return f"{self.repository}@{self.digest}"


class _Lock(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    version: Literal[1] = Field(alias="schema")
    images: dict[Literal["cpu", "bnb", "unsloth", "export"], PublishedImage]


def read(root: Path | None = None) -> Mapping[str, PublishedImage]:
    """The published image of each stack that has one.

    Raises:
        ConfigError: the file can't be read, or an entry has no digest (78). NotFoundError: no
            such file (66).
    """
    if root is None:
        root = PROJECT if (PROJECT / PATH).is_file() else CHECKOUT
    try:
        lock = _Lock.model_validate(read_yaml(root / PATH)[0])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{key}: {first['msg']}",
            where=str(root / PATH),
            todo=f"git checkout -- {PATH}; inv image.push writes it",
        ) from error
    return {str(stack): entry for stack, entry in lock.images.items()}


def record(stack: str, entry: PublishedImage, root: Path = PROJECT) -> None:
    """Put an image's entry in the place of the stack's former one; the file is replaced whole."""
    images = {**(read(root) if (root / PATH).is_file() else {}), stack: entry}
    plain = {"schema": 1, "images": {name: images[name].model_dump() for name in sorted(images)}}
    write_text(root / PATH, _HEAD + yaml.safe_dump(plain, sort_keys=False, width=200))
