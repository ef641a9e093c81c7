"""Snapshots of the hub's repositories in the cache, with the hub's errors as ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.data.progress import progress
from sftplay.errors import MachineError, NotFoundError, PermissionDeniedError
from sftplay.files import human_size
from sftplay.library_errors import is_of_disk
from sftplay.model.hub.access import first_line, read_token
from sftplay.model.runtime.disk_room import require_room
from sftplay.model.runtime.hub_progress import counting_into
from sftplay.places import cache_folder


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, and its name in messages: `kind` is `model` or `dataset`, `key` the
    config's key.
    """

    kind: str
    key: str
    name: str
    revision: str | None
    patterns: Sequence[str]
    ignored: Sequence[str] = ()
    elsewhere: str = ""


def _bytes_to_fetch(wanted: Repository, token: str | None) -> int:
    """Return the size of the wanted files that are not in the cache; 0 where the hub doesn't say: the
    download that follows has its error.
    """
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    try:
        found: Any = HfApi().repo_info(
            wanted.name,
            repo_type=wanted.kind,
            revision=wanted.revision or "main",
            files_metadata=True,
            token=token or False,
        )
    except (errors.HTTPError, errors.HFValidationError, OSError):  # type: ignore[attr-defined]
        return 0
    where: dict[str, Any] = {"cache_dir": cache_folder() / "hub", "repo_type": wanted.kind}
    where["revision"] = found.sha
    return sum(
        file.size or 0
        for file in found.siblings or ()
        if fits(file.rfilename, wanted.patterns)
        and not fits(file.rfilename, wanted.ignored)
        and not isinstance(try_to_load_from_cache(wanted.name, file.rfilename, **where), str)
    )


def download(wanted: Repository) -> Path:
    """A snapshot's folder in the cache; its name is the commit. The hub's errors become ours."""
    from huggingface_hub import errors, snapshot_download

    name, revision = wanted.name, wanted.revision
    token = read_token()
    size = _bytes_to_fetch(wanted, token)
    require_room(
        cache_folder(),
        size,
        f"the {wanted.kind} {name}",
        todo="free some space, or set SFTPLAY_CACHE to a folder on another disk",
    )
    said = f" ({human_size(size)})" if size else ""
    console.info(f"fetching {name} from the Hugging Face hub{said}")
    try:
        with progress(None, "B", "fetch") as bar:
            folder = snapshot_download(
                name,
                repo_type=wanted.kind,
                revision=revision,
                cache_dir=cache_folder() / "hub",
                allow_patterns=[*wanted.patterns],
                ignore_patterns=[*wanted.ignored] or None,
                token=token or False,
                tqdm_class=counting_into(bar),
            )
        return Path(folder)
    except errors.GatedRepoError as error:
        raise PermissionDeniedError(
            f"the {wanted.kind} {name} is gated",
            todo=f"accept its terms on its hub page, then put a token into a file and set HF_TOKEN_PATH to it; {first_line(error)}",
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFoundError(
            f"the hub has no {wanted.kind} {name}"
            + (f" at revision {revision}" if revision else ""),
            todo=f"check {wanted.key} (private {wanted.kind}s need a token file: HF_TOKEN_PATH), or {wanted.elsewhere}",
        ) from error
    except errors.HFValidationError as error:
        raise NotFoundError(
            f"{name} is neither a folder here nor a hub id",
            todo=f"check {wanted.key} in the config",
        ) from error
    except (
        errors.LocalEntryNotFoundError,
        errors.OfflineModeIsEnabled,
        errors.HTTPError,  # type: ignore[attr-defined]  # the client library's own, which the hub's module imports
        OSError,
    ) as error:
        if is_of_disk(error):
            raise  # a full disk and the like have codes of their own
        raise MachineError(
            f"{name} is not in the cache, and the hub can't be reached",
            todo=f"connect to the network and run the same command again; or {wanted.elsewhere}",
        ) from error


def fits(name: str, patterns: Iterable[str]) -> bool:
    """As huggingface_hub compares its `allow_patterns`."""
    return any(fnmatch(name, pattern) for pattern in patterns)
