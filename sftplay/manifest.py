"""A folder that exists when its manifest verifies: built under a temporary name, listed, fsynced,
renamed.

Checkpoints, adapters and merged models are kept this way. transformers saves in place and takes the
newest folder without looking inside; a kill in mid-save then leaves a checkpoint that can't be
loaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sftplay.errors import SftplayError
from sftplay.files import explain_os_error, fsync_dir, hash_file, write_json, write_text
from sftplay.temporary import sweep, temporary_folder
from sftplay.untrusted import read_json

MANIFEST = "manifest.json"


@contextmanager
def sealed_folder(target: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it replaces `target` with a manifest inside.

    Args:
        target: where the folder appears, whole or not at all.
        facts: plain values for the manifest (step, stage), next to its list of files.
    """
    old = target.with_name(f"old-{target.name}")
    try:
        for name in (target.name, old.name):
            sweep(target.parent, name)
        with temporary_folder(target) as tmp:
            yield tmp
            seal(tmp, facts)
            with temporary_folder(old) if target.exists() else nullcontext() as aside:
                if aside is not None:
                    target.rename(aside / target.name)
                tmp.rename(target)
                fsync_dir(target.parent)
    except OSError as error:
        raise explain_os_error(error, target) from error


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Fsync every file of `folder` and write its manifest."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        path.chmod(
            0o644
        )  # safetensors writes 0600; another uid may read the folder from a container
        with open(path, "rb") as source:
            os.fsync(source.fileno())
        files[path.relative_to(folder).as_posix()] = {
            "size": path.stat().st_size,
            "hash": hash_file(path),
        }
    write_json(folder / MANIFEST, {**facts, "files": files})
    for place in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        fsync_dir(place)


def replace_file(folder: Path, name: str, text: str) -> None:
    """Replace one text file of a sealed folder, with its manifest; all other files stay the same
    ones on the disk.
    """
    facts = {key: value for key, value in read_json(folder / MANIFEST).items() if key != "files"}
    with sealed_folder(folder, facts) as tmp:
        for path in (p for p in folder.rglob("*") if p.is_file()):
            place = tmp / path.relative_to(folder)
            if place.name not in (name, MANIFEST):
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, place)
                except OSError:  # a file system without hard links
                    shutil.copyfile(path, place)
        write_text(tmp / name, text)


def problem_with(folder: Path) -> str | None:
    """Return the reason why a sealed folder can't be trusted; None if every file is there with its
    size and hash.
    """
    try:
        listed = read_json(folder / MANIFEST, files=dict)["files"]
        if not listed:
            return "its manifest lists no files"
        found = (_problem_with_file(folder, name, entry) for name, entry in listed.items())
        return next((problem for problem in found if problem), None)
    except (SftplayError, KeyError, TypeError, AttributeError) as error:
        return f"no usable manifest ({error})"


def _problem_with_file(folder: Path, name: str, entry: Mapping[str, Any]) -> str | None:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"{name} is outside of the folder"
    if not path.is_file() or path.is_symlink():
        return f"{name} is missing"
    if path.stat().st_size != entry["size"]:
        return f"{name} has {path.stat().st_size} bytes, not {entry['size']}"
    return f"{name} was changed" if hash_file(path, links=False) != entry["hash"] else None
