"""Today's images that the engine has; the runner is chosen by them.

Nothing is pulled or built here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sftplay.errors import MachineError, SftplayError
from sftplay.host.containers import engine as engines
from sftplay.host.containers import image_names
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors, wanted_host
from sftplay.host.containers.spec import ContainerImage

ImageState = Literal["present", "stale", "missing"]


@dataclass(frozen=True)
class AvailableImages:
    """The engine, and what it has for each stack.

    Attributes:
        problem: why there is no engine to use; None where there is one.
    """

    engine: Engine | None = None
    problem: SftplayError | None = None
    states: Mapping[str, ImageState] = field(default_factory=dict)

    @property
    def present(self) -> frozenset[str]:
        """Stacks whose image of this very checkout is here."""
        return frozenset(stack for stack, state in self.states.items() if state == "present")


def find() -> AvailableImages:
    """Ask the engine, where there may be one: half a second, half a millisecond without."""
    if not engines.may_be_here():
        return AvailableImages(problem=_no_engine())
    try:
        engine = engines.connect()
        with engine_errors("list images"):
            listed = engine.api.images(filters={"label": image_names.STACK_LABEL})
    except SftplayError as problem:
        return AvailableImages(problem=problem)
    return AvailableImages(engine, states=states_of(listed))


def states_of(listed: list[dict[str, Any]]) -> dict[str, ImageState]:
    """present, stale or missing for each stack, from the engine's list of our images."""
    tags = {tag for image in listed for tag in image.get("RepoTags") or ()}
    digests = {digest for image in listed for digest in image.get("RepoDigests") or ()}
    found: dict[str, ImageState] = {}
    for stack in image_names.STACKS:
        try:
            tag = image_names.current(stack).tag
        except MachineError:  # its lock is not in this checkout
            found[stack] = "missing"
            continue
        older = any(name.startswith(f"{image_names.REPOSITORY}/{stack}") for name in tags | digests)
        found[stack] = "present" if tag in tags else "stale" if older else "missing"
    return found


def image_of(engine: Engine, stack: str) -> ContainerImage:
    """Today's image of a stack, by id: a tag that is moved meanwhile changes nothing.

    Raises:
        MachineError: it is not here (69).
    """
    name = image_names.current(stack)
    with engine_errors(f"find the image {name.tag}"):
        found = engine.api.inspect_image(name.tag)
    digests = found.get("RepoDigests") or []
    digest = str(digests[0]).partition("@")[2] if digests else str(found["Id"])
    labels = (found.get("Config") or {}).get("Labels") or {}
    return ContainerImage(
        stack, str(found["Id"]), digest, str(labels.get(image_names.LOCK_LABEL) or name.lock_hash)
    )


def describe_missing(stack: str, state: ImageState) -> str:
    """Return why the image can't be used."""
    if state == "stale":
        return f"the {stack} image here is of another state of this checkout"
    return f"the {stack} image is missing"


def command_to_get(stack: str) -> str:
    """The commands that bring a stack's image."""
    return f"inv image.build {stack}, or inv image.pull {stack}"


def _no_engine() -> MachineError:
    return MachineError(
        "no container engine here",
        where=wanted_host(),
        todo="install one (sudo apt install docker.io), or use --runner local: the same stages, the same locked versions",
    )
