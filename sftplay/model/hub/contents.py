"""Files of a run that are published, checked, and what changed since the last push."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.errors import RefusedError
from sftplay.files import hash_bytes, human_size
from sftplay.manifest import MANIFEST, problem_with
from sftplay.places import cache_folder
from sftplay.untrusted import read_json

_CARD = "README.md"
_LARGEST_TEXT = 1 << 20  # bytes; tokenizer.json and weights hold no path
# An absolute path of somebody's machine, or of a container. A path in a URL follows a host.
_PATH = re.compile(
    r"(?<![\w./:~-])(?:~|/(?:home|root|Users|mnt|media|tmp|var|opt|data|srv|workspace|sft|cache))/[\w.~-]+"
)


@dataclass(frozen=True)
class Publication:
    """One folder of a run on its way to a repository.

    Attributes:
        kind: `adapter`, `model` or `merged`.
        card: its README.md, which names the repository where the folder's own says FOLDER.
        hashes: file → hash of what is sent; sizes: file → bytes.
    """

    folder: Path
    repository: str
    kind: str
    card: str
    hashes: Mapping[str, str]
    sizes: Mapping[str, int]

    def content(self, name: str) -> bytes | Path:
        """Return what is sent under a name: bytes, or the file to read."""
        return self.card.encode() if name == _CARD else self.folder / name


def gather(folder: Path, repository: str) -> Publication:
    """Read a sealed folder for its push. The manifest stays here, a proof goes along.

    Raises:
        RefusedError: a file was changed, or names a path of this machine (76).
    """
    problem = problem_with(folder)
    if problem:
        raise RefusedError(
            f"it was changed: {problem}",
            where=str(folder),
            todo="restore the file, or make it again",
        )
    listed = read_json(folder / MANIFEST)["files"]
    card = (folder / _CARD).read_text(encoding="utf-8").replace("FOLDER", repository)
    hashes = {name: str(entry["hash"]) for name, entry in listed.items()}
    sizes = {name: int(entry["size"]) for name, entry in listed.items()}
    hashes[_CARD], sizes[_CARD] = hash_bytes(card.encode()), len(card.encode())
    for name in sorted(listed):
        text = card if name == _CARD else _text_of(folder / name)
        found = local_path(text)
        if found:
            raise RefusedError(
                f"{name} names a path of this machine: {found}",
                where=str(folder / name),
                todo="remove it from there, then: inv train --resume publishes the folder again"
                if name != _CARD
                else "correct model.name in the run's config, and evaluate again: that writes the card",
            )
    return Publication(folder, repository, folder.name, card, hashes, sizes)


def local_path(text: str) -> str | None:
    """Return the first path of this machine in a text; None if there is none."""
    for place in (Path.cwd(), Path.home(), cache_folder()):
        if len(place.parts) > 2 and str(place) in text:
            return str(place)
    found = _PATH.search(text)
    return found[0] if found else None


def changes(publication: Publication, last: Mapping[str, Any] | None) -> list[str]:
    """Return one line per file: its size, and what happened to it since the last push. Pure."""
    before: Mapping[str, str] = (last or {}).get("files", {})
    lines = []
    for name in sorted({*publication.hashes, *before}):
        if name not in publication.hashes:
            lines.append(f"removed  {name}")
            continue
        state = (
            "new"
            if name not in before
            else "same"
            if before[name] == publication.hashes[name]
            else "changed"
        )
        lines.append(f"{state:<8} {name} ({human_size(publication.sizes[name])})")
    return lines


def _text_of(path: Path) -> str:
    if path.suffix != ".json" or path.stat().st_size > _LARGEST_TEXT:
        return ""
    return "" if path.name == "tokenizer.json" else path.read_text(encoding="utf-8")
