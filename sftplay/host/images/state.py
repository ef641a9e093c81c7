"""Images that are here: today's, stale ones and those that were never verified; listed, explained
and removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sftplay import console
from sftplay.errors import MachineError, UsageError
from sftplay.files import human_size
from sftplay.host.containers import engine as engines
from sftplay.host.containers import image_names
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.image_names import (
    CONTEXT_LABEL,
    STACK_LABEL,
    VERIFIED_LABEL,
    ImageName,
)
from sftplay.host.images import recipe
from sftplay.host.system.machine import Machine, read_machine
from sftplay.host.ui import prompt

_CANDIDATE = "unverified-"


@dataclass(frozen=True)
class EngineImage:
    """An image of the engine.

    Attributes:
        digests: `repository@sha256:…` of registries that it came from or went to.
        size: bytes, all layers.
    """

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    labels: Mapping[str, str]
    size: int

    @property
    def stack(self) -> str:
        return self.labels.get(STACK_LABEL, "")

    @property
    def verified(self) -> str:
        """Return what was run in it; empty if nothing was."""
        return self.labels.get(VERIFIED_LABEL, "")


def candidate_tag(name: ImageName) -> str:
    """The tag of an image until it is verified."""
    repository, _, version = name.tag.partition(":")
    return f"{repository}:{_CANDIDATE}{version}"


def find(engine: Engine, name: ImageName) -> EngineImage | None:
    """Today's verified image of a stack, where it is here."""
    try:
        found = inspect(engine, name.tag)
    except MachineError:
        return None
    return (
        found if found.verified and found.labels.get(CONTEXT_LABEL) == name.context_hash else None
    )


def inspect(engine: Engine, name: str) -> EngineImage:
    """An image by tag, digest or id.

    Raises:
        MachineError: it is not here (69).
    """
    with engine_errors(f"look for {name}"):
        facts = engine.api.inspect_image(name)
    config = facts.get("Config") or {}
    return EngineImage(
        id=facts["Id"],
        tags=tuple(facts.get("RepoTags") or ()),
        digests=tuple(facts.get("RepoDigests") or ()),
        labels=config.get("Labels") or {},
        size=int(facts.get("Size") or 0),
    )


def ours(engine: Engine) -> list[EngineImage]:
    """Every image with sftplay's label, by stack and newest first."""
    with engine_errors("list images"):
        listed = engine.api.images(filters={"label": STACK_LABEL})
    found = [
        EngineImage(
            id=one["Id"],
            tags=_names(one.get("RepoTags")),
            digests=_names(one.get("RepoDigests")),
            labels=one.get("Labels") or {},
            size=int(one.get("Size") or 0),
        )
        for one in sorted(listed, key=lambda one: -int(one.get("Created") or 0))
    ]
    return sorted(found, key=lambda one: one.stack)


def _names(listed: Sequence[str] | None) -> tuple[str, ...]:
    """An image without a name is listed under `<none>:<none>` or `<none>@<none>`, which no other
    command takes.
    """
    return tuple(name for name in listed or () if not name.startswith("<none>"))


def judge(found: EngineImage) -> str:
    """In words: fresh, not verified, or stale and what has changed since."""
    if found.stack not in image_names.STACKS:
        return "of a stack that this sftplay does not have"
    name = image_names.current(found.stack)
    changed = list(recipe.what_changed(found.labels, name))
    if changed:
        return f"stale: {', '.join(changed)} changed since"
    return (
        f"fresh, verified: {found.verified}"
        if found.verified
        else "fresh, not verified: inv image.verify"
    )


def check(stacks: Sequence[str]) -> int:
    """`inv image.check`: is today's image of each stack here, and if not, why. Without names: of the
    stacks that this machine uses. 0 where all of them are fresh, else 76.
    """
    wanted = image_names.chosen(stacks) if stacks else of_machine(read_machine())
    engine = engines.connect()
    stale = 0
    for one in wanted:
        name = image_names.current(one)
        fresh = find(engine, name)
        if fresh is not None:
            console.success(f"{one}: {name.tag}, {judge(fresh)}")
            continue
        stale += 1
        others = [found for found in ours(engine) if found.stack == one]
        what = judge(others[0]) if others else "not here"
        console.warning(f"{one}: {what}")
        console.info(f"next: inv image.build {one}, or inv image.pull {one}")
    if not stacks:
        unused = ", ".join(stack for stack in image_names.STACKS if stack not in wanted)
        console.info(
            f"not looked at, since this machine does not use them: {unused}; all: inv image.check all"
        )
    return 76 if stale else 0


def of_machine(machine: Machine) -> tuple[str, ...]:
    """The stacks whose images a machine uses."""
    return ("bnb", "unsloth") if machine.has_gpu else ("cpu",)


def show() -> None:
    """`inv image.ls`: every image of sftplay here, on stdout, a line each."""
    engine = engines.connect()
    found = ours(engine)
    if not found:
        console.info("no image of sftplay is here; inv image.build cpu makes the smallest one")
    for one in found:
        names = ", ".join((*one.tags, *one.digests)) or "(no name)"
        console.result(
            f"{one.stack:8} {one.id[7:19]}  {human_size(one.size):>8}  {names}  {judge(one)}"
        )


def prune(*, everything: bool = False, yes: bool = False) -> int:
    """`inv image.prune`: remove images that today's checkout does not use; `everything`: today's
    too. Asks first.
    """
    engine = engines.connect()
    todays = {image_names.current(stack).context_hash for stack in image_names.STACKS}
    going = [
        one
        for one in ours(engine)
        if everything or not (one.verified and one.labels.get(CONTEXT_LABEL) in todays)
    ]
    if not going:
        console.success("nothing to remove")
        return 0
    for one in going:
        console.info(
            f"{one.stack}: {', '.join(one.tags) or one.id[7:19]}, {human_size(one.size)}, {judge(one)}"
        )
    if not yes and not _agreed():
        console.info("nothing was removed")
        return 0
    return remove(engine, going)


def _agreed() -> bool:
    if not prompt.can_ask():
        raise UsageError(
            "nothing was removed: there is no terminal to ask on",
            todo="the same command with --yes",
        )
    return prompt.ask_yes_no("Remove these?", default=False)


def remove(engine: Engine, images: Sequence[EngineImage]) -> int:
    """Remove these images, under all their names. 0, or 75 where one is in use."""
    kept = 0
    for one in images:
        try:
            for name in (*one.tags, *one.digests, one.id):
                forget(engine, name)
        except MachineError as problem:
            kept += 1
            console.warning(str(problem))
    console.success(f"{len(images) - kept} images removed; layers that others share stay")
    return 75 if kept else 0


def forget(engine: Engine, name: str) -> None:
    """One of an image's names; with the last one the image goes.

    Names that went with another are no failure.
    """
    import docker.errors

    with engine_errors(f"remove {name}"):
        try:
            engine.api.remove_image(name)
        except docker.errors.ImageNotFound:
            return
