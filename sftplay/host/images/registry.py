"""`inv image.push` and `inv image.pull`: by digest, written down in images/published.lock, verified
on arrival.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sftplay import console
from sftplay.errors import NotFoundError, RefusedError, UsageError
from sftplay.files import human_size
from sftplay.host.containers import engine as engines
from sftplay.host.containers import image_names
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.image_names import CONTEXT_LABEL, LOCK_LABEL, STACK_LABEL, ImageName
from sftplay.host.images import published, recipe, state, transfer
from sftplay.host.images.published import PublishedImage
from sftplay.host.images.state import EngineImage


def push(stacks: Sequence[str], *, registry: str | None = None, unpinned: bool = False) -> int:
    """Publish today's verified images and write their digests, as the registry answers them, into
    published.lock.

    Args:
        registry: host (and path) to push to (default: SFTPLAY_REGISTRY, else where the stack was
            published before).
        unpinned: also an image on another base than the Dockerfile's.

    Raises:
        RefusedError: not here, stale, never verified, on another base, or the registry holds
            another digest (76).
        MachineError: no engine, no registry (69). PermissionDeniedError: it requires a login (77).
    """
    before = published.read()
    engine = engines.connect()
    for stack in image_names.chosen(stacks):
        name = image_names.current(stack)
        found = _publishable(engine, name, unpinned=unpinned)
        repository = _repository(
            stack, registry or os.environ.get("SFTPLAY_REGISTRY"), before.get(stack)
        )
        digest = _push(engine, name, repository)
        published.record(stack, _entry(name, found, repository, digest))
        console.success(f"{stack}: {repository}@{digest}; {published.PATH} says so (commit it)")
    return 0


def pull(stacks: Sequence[str]) -> int:
    """Bring published images by digest, compare them with published.lock and this checkout, and
    give them their tags.

    Raises:
        NotFoundError: never published, or not in the registry any more (66). RefusedError: not the
            image it should be (76).
        MachineError: no engine, no registry (69).
    """
    entries = published.read()
    engine = engines.connect()
    wanted = image_names.chosen(stacks) if stacks else tuple(entries)
    if not wanted:
        raise NotFoundError(
            "no image is published yet",
            where=str(published.PATH),
            todo="inv image.build makes them here",
        )
    for stack in wanted:
        name = image_names.current(stack)
        entry = _published(name, entries.get(stack))
        if (found := state.find(engine, name)) is not None and _is_entry(found, entry):
            console.success(f"{name.tag} is here: {entry.reference}")
            continue
        _pull(engine, name, entry)
    return 0


def _publishable(engine: Engine, name: ImageName, *, unpinned: bool) -> EngineImage:
    found = state.find(engine, name)
    if found is None:
        raise RefusedError(
            f"today's verified image of {name.stack} is missing",
            where=name.tag,
            todo=f"inv image.build {name.stack}",
        )
    base = recipe.pinned_base()
    if found.labels.get(f"{recipe.OCI}.base.digest") != base.digest and not unpinned:
        raise RefusedError(
            f"it is built on {found.labels.get(f'{recipe.OCI}.base.name')}, not on the pinned base",
            where=name.tag,
            todo=f"inv image.build {name.stack} --again, or --unpinned where that is meant",
        )
    return found


def _repository(stack: str, registry: str | None, before: PublishedImage | None) -> str:
    if registry:
        return f"{registry.removeprefix('https://').rstrip('/')}/{image_names.REPOSITORY}/{stack}"
    if before is not None:
        return before.repository
    raise UsageError("push where to?", todo="--registry HOST[/PATH], or export SFTPLAY_REGISTRY=…")


def _push(engine: Engine, name: ImageName, repository: str) -> str:
    """Send it. Returns the digest, asked from the registry itself."""
    tag = name.tag.partition(":")[2]
    with transfer.registry_errors(f"pushing {repository}"):
        engine.api.tag(name.tag, repository, tag)
        events = engine.api.push(repository, tag, stream=True, decode=True)
        sent = [
            str(one["Digest"])
            for one in transfer.follow(events, f"pushing {repository}")
            if "Digest" in one
        ]
        answer = engine.api.inspect_distribution(f"{repository}:{tag}")["Descriptor"]["digest"]
    if sent and sent[-1] != answer:
        raise RefusedError(
            f"the registry says {answer}, sent was {sent[-1]}: nothing was written down",
            where=f"{repository}:{tag}",
            todo="another process may have pushed this tag in the meantime: push again",
        )
    return str(answer)


def _entry(name: ImageName, found: EngineImage, repository: str, digest: str) -> PublishedImage:
    label = found.labels.get
    return PublishedImage(
        repository=repository,
        tag=name.tag.partition(":")[2],
        digest=digest,
        config=found.id,
        context=name.context_hash,
        lock=name.lock_hash,
        base=f"{label(f'{recipe.OCI}.base.name')}@{label(f'{recipe.OCI}.base.digest')}",
        revision=label(f"{recipe.OCI}.revision") or "unknown",
        verified=found.verified,
        size=found.size,
    )


def _published(name: ImageName, entry: PublishedImage | None) -> PublishedImage:
    """The entry, where it is of today's checkout."""
    if entry is None:
        todo = f"inv image.build {name.stack} makes it here"
        raise NotFoundError(
            f"no image of {name.stack} is published", where=str(published.PATH), todo=todo
        )
    if entry.context != name.context_hash:
        raise NotFoundError(
            f"the published image of {name.stack} is of another state of this checkout ({entry.revision[:12]})",
            where=str(published.PATH),
            todo=f"inv image.build {name.stack} makes today's here",
        )
    return entry


def _pull(engine: Engine, name: ImageName, entry: PublishedImage) -> None:
    console.info(f"pulling {entry.reference} ({human_size(entry.size)} unpacked)")
    had = _digests(engine)
    with transfer.registry_errors(f"pulling {entry.reference}"):
        events = engine.api.pull(entry.repository, tag=entry.digest, stream=True, decode=True)
        transfer.follow(events, f"pulling {entry.reference}")
    found = state.inspect(engine, entry.reference)
    wrong = list(_differences(found, entry, name))
    if wrong:
        if entry.reference not in had:
            state.forget(engine, entry.reference)
        raise RefusedError(
            f"the image that arrived is not the one that was published: {', '.join(wrong)}",
            where=entry.reference,
            todo=f"git checkout -- {published.PATH}, or inv image.build {name.stack}",
        )
    with engine_errors("name the image"):
        for tag in (name.tag, image_names.alias(name.stack)):
            engine.api.tag(found.id, *tag.split(":"))
    console.success(f"{name.tag}: pulled and verified ({found.verified})")


def _digests(engine: Engine) -> set[str]:
    return {digest for one in state.ours(engine) for digest in one.digests}


def _is_entry(found: EngineImage, entry: PublishedImage) -> bool:
    """By digest, or by id: `docker save` and `load` lose digests; an id is the config's on classic
    stores, else the manifest's.
    """
    return entry.reference in found.digests or found.id in (entry.config, entry.digest)


def _differences(found: EngineImage, entry: PublishedImage, name: ImageName) -> list[str]:
    expected = {STACK_LABEL: name.stack, CONTEXT_LABEL: entry.context, LOCK_LABEL: entry.lock}
    wrong = [f"label {key}" for key, value in expected.items() if found.labels.get(key) != value]
    wrong += [] if _is_entry(found, entry) else ["digest"]
    wrong += [] if found.id in (entry.config, entry.digest) else ["config"]
    wrong += [] if found.verified else ["never verified"]
    return wrong
