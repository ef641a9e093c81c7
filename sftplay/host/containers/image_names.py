"""Ingredients of an image, and the name that follows from them: any change gives another tag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sftplay.errors import MachineError, UsageError
from sftplay.files import hash_file, hash_files
from sftplay.host.system.checkout import CHECKOUT

STACKS = ("cpu", "bnb", "unsloth", "export")
REPOSITORY = "sftplay"
DOCKERFILE = Path("images/Dockerfile")

# Labels of an image, in addition to the OCI ones.
STACK_LABEL = "sftplay.stack"
LOCK_LABEL = "sftplay.lock"
CONTEXT_LABEL = "sftplay.context"
VERIFIED_LABEL = "sftplay.verified"


@dataclass(frozen=True)
class ImageName:
    """Today's image of a stack.

    Attributes:
        tag: name with tag, as the engine knows it: `sftplay/<stack>:<first 12 of the context
            hash>`.
        context_hash: `sha256:…` over names and contents of every ingredient.
        lock_hash: `sha256:…` of requirements.lock, the same as an environment's.
    """

    stack: str
    tag: str
    context_hash: str
    lock_hash: str


def current(stack: str, root: Path = CHECKOUT) -> ImageName:
    """The name of the image that this checkout would build; a few milliseconds.

    Args:
        root: the checkout.

    Raises:
        UsageError: no such stack (2). MachineError: an ingredient is not in this checkout (69).
    """
    if stack not in STACKS:
        raise UsageError(f"there is no image {stack!r}", todo=f"one of {', '.join(STACKS)}")
    files = [root / path for path in ingredients(stack, root)]
    for path in files:
        if not path.is_file():
            raise MachineError(
                "an image is made from this file, and it is missing", where=str(path)
            )
    context = hash_files(files, root)
    return ImageName(
        stack, f"{REPOSITORY}/{stack}:{context[7:19]}", context, hash_file(root / lock_of(stack))
    )


def alias(stack: str) -> str:
    """A name that does not change: of the image that was last built and verified, or pulled.
    compose.yaml starts it by this one.
    """
    return f"{REPOSITORY}/{stack}:current"


def chosen(stacks: Sequence[str]) -> tuple[str, ...]:
    """The stacks that a person named; all of them for none."""
    return tuple(stacks) if tuple(stacks) not in ((), ("all",)) else STACKS


def lock_of(stack: str) -> Path:
    """The stack's lock, relative to the checkout."""
    return Path("images") / stack / "requirements.lock"


def ingredients(stack: str, root: Path = CHECKOUT) -> Iterator[Path]:
    """Every file that goes into the image, relative to the checkout: the package without its host
    layer, which no stage uses.
    """
    yield from (DOCKERFILE, Path("images/uv.lock"), Path("images/build.lock"), lock_of(stack))
    package = root / "sftplay"
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package).parts
        if path.is_file() and inside[0] != "host" and "__pycache__" not in inside:
            yield path.relative_to(root)
