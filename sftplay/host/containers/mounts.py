"""Paths on both sides of a container's wall: what a person names is mounted where the same words
find it inside.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sftplay.call import StageCall
from sftplay.errors import UsageError
from sftplay.freshness import read_stamp
from sftplay.kept_values import refreshed
from sftplay.places import data_folder, is_local_model
from sftplay.rawdata import hub_dataset
from sftplay.settings import Settings
from sftplay.stages import Job

ROOT = "/sft"  # the project: a stage's working directory
HOME = "/tmp"  # noqa: S108 - the one writable place of a read-only root
CACHE = "/cache"
_MOUNTED = ("data", "outputs", "configs")
# What a mount must not hide: the image's own system, environment and package, and what the engine
# puts in place.
_KEPT = (
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/opt/sftplay",
    "/opt/venv",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
)
_KEPT_EXACTLY = (ROOT, HOME, CACHE, *(f"{ROOT}/{name}" for name in _MOUNTED))
_MOST_LINKS = 200


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host, seen in a container."""

    source: str
    target: str
    read_only: bool


def gather(call: StageCall, job: Job, root: Path) -> tuple[Mount, ...]:
    """Mounts for what the call and its config name outside of data/, outputs/ and configs/:
    read-only, but for a place to write to.

    A name that leads nowhere gets no mount, so that the stage itself says so. Links inside a named
    folder are followed one step: the hub's own cache is a folder of links.

    Raises:
        UsageError: a mount there would hide the container's own files (2).
    """
    binds: dict[str, Mount] = {}
    for name in _reads(call, job):
        place = _host_path(name, root)
        if place.exists():
            _add(binds, Mount(os.path.realpath(place), inside(name), read_only=True))
            _add_links(binds, place, inside(name))
    for name in _writes(call, job):
        place = _host_path(name, root).parent
        if place.is_dir():
            _add(
                binds,
                Mount(os.path.realpath(place), posixpath.dirname(inside(name)), read_only=False),
            )
    _add_links(binds, root / "data" / "raw", f"{ROOT}/data/raw")
    return tuple(binds.values())


def inside(name: str) -> str:
    """Return the path in a container that the person's own words lead to."""
    if name == "~" or name.startswith("~/"):
        name = HOME + name[1:]
    return posixpath.normpath(posixpath.join(ROOT, name))


def _reads(call: StageCall, job: Job) -> Iterator[str]:
    yield from [call.config] if call.config else []
    for settings in _settings(call, job):
        if is_local_model(settings.model.name):
            yield settings.model.name
        yield from [settings.data.chat_template] if settings.data.chat_template else []
        if call.stage.raw or call.stage.writes_data:
            local = (entry for entry in settings.data.sources if hub_dataset(entry) is None)
            yield from map(_before_wildcard, local)
    yield from _option_values(call, job, "read")


def _settings(call: StageCall, job: Job) -> Iterator[Settings]:
    """The call's own, and those that the rows it builds on were made with: whether they are stale
    is seen from the same files.
    """
    yield job.settings
    if call.stage.writes_data and call.stage.name != "process":
        for stage, kind in (("process", "processed"), ("render", "rendered")):
            stamp = read_stamp(data_folder(kind, job.settings))
            if stamp is not None and stamp.overrides:
                yield refreshed(job, stage, stamp).settings


def _writes(call: StageCall, job: Job) -> Iterable[str]:
    return _option_values(call, job, "write")


def _option_values(call: StageCall, job: Job, kind: str) -> Iterator[str]:
    for option in call.stage.options:
        value = job.options.get(option.key)
        if option.path == kind and value and value != option.bare:
            yield str(value)


def _host_path(name: str, root: Path) -> Path:
    return Path(os.path.normpath(root / Path(name).expanduser()))


def _before_wildcard(name: str) -> str:
    """The folder above the first part of a pattern that holds a wildcard."""
    parts = Path(name).parts
    plain = next(
        (number for number, part in enumerate(parts) if any(mark in part for mark in "*?[")),
        len(parts),
    )
    return str(Path(*parts[:plain])) if plain else "."


def _add_links(binds: dict[str, Mount], folder: Path, target: str) -> None:
    """Mount the targets of links in `folder` where the same link leads in the container; at most
    200.
    """
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir())[:_MOST_LINKS]:
        if entry.is_symlink() and entry.exists():
            leads_to = posixpath.normpath(posixpath.join(target, str(entry.readlink())))
            if not _holds(target, leads_to):
                _add(binds, Mount(os.path.realpath(entry), leads_to, read_only=True))


def _add(binds: dict[str, Mount], bind: Mount) -> None:
    target = bind.target
    if any(target == f"{ROOT}/{name}" or target.startswith(f"{ROOT}/{name}/") for name in _MOUNTED):
        return  # mounted with the project, with the rights that the stage needs there
    hidden = next((kept for kept in _KEPT if target == kept or target.startswith(f"{kept}/")), None)
    hidden = hidden or next(
        (kept for kept in (*_KEPT, *_KEPT_EXACTLY) if _holds(target, kept)), None
    )
    if hidden:
        raise UsageError(
            f"{bind.source} can't be mounted: in a container it would hide {hidden}",
            where=target,
            todo="copy it into data/ or another folder, or use --runner local",
        )
    before = binds.get(target)
    if before is None or before.read_only:
        binds[target] = bind


def _holds(folder: str, path: str) -> bool:
    return folder == path or path.startswith(folder.rstrip("/") + "/")
