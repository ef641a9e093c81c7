"""The run that a GGUF file was made from, as the manifests in outputs/*/gguf say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sftplay.errors import RefusedError, SftplayError
from sftplay.files import hash_file
from sftplay.manifest import MANIFEST
from sftplay.places import OUTPUTS
from sftplay.runs import Run
from sftplay.untrusted import read_json


def require_own_gguf(run: Run, file: Path) -> bool:
    """Refuse a file of another run: its weights would answer under this run's template and style.

    Returns:
        Whether this run's manifest lists it; False for a file that no manifest here lists.

    Raises:
        RefusedError: another run's (76).
    """
    owners = _owners(file)
    if run.name in owners:
        return True
    folder = file.resolve().parent
    if folder.name == "gguf" and folder.parent.parent == OUTPUTS.resolve():
        owners = owners or [folder.parent.name]
    if not owners or owners == [run.name]:
        return False
    raise RefusedError(
        f"this file holds the weights of run {owners[0]}, not those of {run.name}",
        where=str(file),
        todo=f"inv infer --run {owners[0]} --gguf {file}\nor this run's own: inv export --run {run.name}",
    )


def _owners(file: Path) -> list[str]:
    """Return the runs whose manifest lists a file with this content."""
    size = file.stat().st_size
    wanted = [(name, entry["hash"]) for name, entry in _listed() if entry.get("size") == size]
    if not wanted:
        return []  # a large file is not read for nothing
    found = hash_file(file)
    return [name for name, known in wanted if known == found]


def _listed() -> Iterator[tuple[str, Any]]:
    """Yield (run, entry of a manifest) of every GGUF file here."""
    for path in sorted(OUTPUTS.glob(f"[!.]*/gguf/{MANIFEST}")):
        try:
            files = read_json(path, files=dict)["files"]
        except SftplayError:  # damaged: it proves nothing
            continue
        for name, entry in files.items():
            if name.endswith(".gguf") and isinstance(entry, dict) and "hash" in entry:
                yield path.parent.parent.name, entry
