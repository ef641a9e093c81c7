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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sftplay.errors import SftplayError
from sftplay.files import (
    TMP_PREFIX,
    explain_os_error,
    fsync_dir,
    hash_file,
    read_json,
    write_json,
    write_text,
)

MANIFEST = "manifest.json"


@contextmanager
def sealed_folder(target: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it replaces `target` with a manifest inside.

    Args:
        target: where the folder appears, whole or not at all.
        facts: plain values for the manifest (step, stage), next to its list of files.
    """
    tmp = target.with_name(f"{TMP_PREFIX}{target.name}.{os.getpid()}")
    try:
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(parents=True)
        yield tmp
        seal(tmp, facts)
        old = target.with_name(f"{TMP_PREFIX}old-{target.name}.{os.getpid()}")
        if target.exists():
            target.rename(old)
        tmp.rename(target)
        fsync_dir(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


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
        listed = read_json(folder / MANIFEST)["files"]
        if not listed:
            return "its manifest lists no files"
        for name, entry in listed.items():
            path = folder / name
            if not path.is_file() or path.is_symlink():
                return f"{name} is missing"
            if path.stat().st_size != entry["size"]:
                return f"{name} has {path.stat().st_size} bytes, not {entry['size']}"
            if hash_file(path) != entry["hash"]:
                return f"{name} was changed"
    except (SftplayError, KeyError, TypeError, AttributeError) as error:
        return f"no usable manifest ({error})"
    return None


def sweep(folder: Path) -> None:
    """Remove what a killed save left behind."""
    if folder.is_dir():
        for leftover in folder.glob(f"{TMP_PREFIX}*"):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
