"""One commit on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftplay import console
from sftplay.errors import RefusedError
from sftplay.model.hub.access import hub_errors
from sftplay.model.hub.contents import Publication
from sftplay.places import DEFAULT_MODEL_ID, PublishedBase

_OF_THE_HUB = {".gitattributes"}  # the hub writes it into a new repository


def upload(
    publication: Publication,
    base: PublishedBase,
    last: Mapping[str, Any] | None,
    *,
    private: bool,
    token: str,
) -> str:
    """Send a publication in one commit: it is there whole, or not at all.

    Args:
        last: what this run recorded of its last push there.

    Returns:
        The commit.

    Raises:
        RefusedError: the name is another's, or others could not load it (76).
        PermissionDeniedError (77), MachineError (69), NotFoundError (66), UsageError (2).
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token)
    name = publication.repository
    with hub_errors(name):
        if not private:
            _require_public_base(api, base)
        head = _head(api, name, last, private=private)
        before: Mapping[str, str] = (last or {}).get("files", {})
        operations: list[Any] = [
            CommitOperationAdd(path_in_repo=one, path_or_fileobj=publication.content(one))
            for one in sorted(publication.hashes)
            if before.get(one) != publication.hashes[one]
        ]
        operations += [
            CommitOperationDelete(path_in_repo=one)
            for one in sorted({*before} - {*publication.hashes})
        ]
        if not operations:
            console.info("nothing has changed since the last push")
            return head
        what = f"{publication.kind} of run {publication.folder.parent.name}"
        done = api.create_commit(
            name, operations, commit_message=f"Publish {what}", parent_commit=head
        )
        return str(done.oid)


def _head(api: Any, name: str, last: Mapping[str, Any] | None, *, private: bool) -> str:
    """Return the newest commit of the repository, which is made where it is missing."""
    from huggingface_hub import errors

    try:
        found = api.model_info(name)
    except errors.RepositoryNotFoundError:
        api.create_repo(name, private=private)
        return str(api.model_info(name).sha)
    files = {one.rfilename for one in found.siblings or ()} - _OF_THE_HUB
    if last is None and files:
        raise RefusedError(
            f"{name} exists already, and this run did not push it",
            todo="choose another name; or empty it on its hub page",
        )
    if last is not None and found.sha != last["commit"]:
        raise RefusedError(
            f"{name} has commits that this run did not push",
            todo="look at them on its hub page; push under another name, or empty it there",
        )
    if private and not found.private:
        raise RefusedError(
            f"{name} is public, and --private was given",
            todo="make it private on its hub page first, or leave --private out",
        )
    return str(found.sha)


def _require_public_base(api: Any, base: PublishedBase) -> None:
    """Refuse to publish a model of which others can't have the base, or may not know it."""
    from huggingface_hub import errors

    if not base.on_hub or base.name == DEFAULT_MODEL_ID:
        return
    try:
        is_private = bool(api.model_info(base.name).private)
    except errors.GatedRepoError:
        return  # public, behind terms
    except errors.RepositoryNotFoundError:
        raise RefusedError(
            f"its base {base.name} is not on this hub: others can't load it",
            todo="publish it for yourself: --private",
        ) from None
    if is_private:
        raise RefusedError(
            f"its base {base.name} is private: others can't load it, and would learn of it",
            todo="publish it for yourself: --private",
        )
