"""The tasks `image.*`."""

from __future__ import annotations

from invoke.context import Context

from sftplay.host.cli.task import task

STACKS = "any of cpu, bnb, unsloth, export (default: all)"


@task(
    name="build",
    words="name",
    help={
        "name": STACKS,
        "base": "an image that is here, instead of the pinned base",
        "again": "also where today's image is here already",
        "no-verify": "do not run it: it stays without its tag",
    },
)
def image_build(
    c: Context,
    name: list[str] | None = None,
    base: str | None = None,
    again: bool = False,
    no_verify: bool = False,
) -> int:
    """Build a stack's image, run it, and give it its tag."""
    from sftplay.host.images import build

    return build.run(name or [], base=base, again=again, verify=not no_verify)


@task(
    name="check",
    words="name",
    help={
        "name": "any of cpu, bnb, unsloth, export, or all (default: those that this machine uses)"
    },
)
def image_check(c: Context, name: list[str] | None = None) -> int:
    """Report which images are up to date, and what has changed since the others were built."""
    from sftplay.host.images import state

    return state.check(name or [])


@task(name="verify", help={"name": "cpu, bnb, unsloth or export"})
def image_verify(c: Context, name: str) -> int:
    """Run an image: libraries, two training steps, resume, merge, an answer."""
    from sftplay.host.images import verification

    return verification.run(name)


@task(
    name="push",
    words="name",
    help={
        "name": STACKS,
        "registry": "host (and path) to push to (default: SFTPLAY_REGISTRY, else as before)",
        "unpinned": "also an image on another base than the pinned one",
    },
)
def image_push(
    c: Context, name: list[str] | None = None, registry: str | None = None, unpinned: bool = False
) -> int:
    """Publish today's verified images; their digests go into images/published.lock."""
    from sftplay.host.images import registry as registries

    return registries.push(name or [], registry=registry, unpinned=unpinned)


@task(
    name="pull",
    words="name",
    help={"name": "any of cpu, bnb, unsloth, export (default: all that are published)"},
)
def image_pull(c: Context, name: list[str] | None = None) -> int:
    """Bring published images by digest, verify them, and give them their tags."""
    from sftplay.host.images import registry as registries

    return registries.pull(name or [])


@task(
    name="sbom",
    help={"name": "cpu, bnb, unsloth or export", "output": "file to write (default: the screen)"},
)
def image_sbom(c: Context, name: str, output: str | None = None) -> None:
    """Write a stack's bill of materials (CycloneDX, JSON), from its lock."""
    from sftplay.host.images import sbom

    sbom.write(name, output)


@task(name="ls")
def image_ls(c: Context) -> None:
    """List the images of sftplay on this machine."""
    from sftplay.host.images import state

    state.show()


@task(name="prune", help={"everything": "today's images too", "yes": "do not ask"})
def image_prune(c: Context, everything: bool = False, yes: bool = False) -> int:
    """Remove images that today's checkout does not use; asks first."""
    from sftplay.host.images import state

    return state.prune(everything=everything, yes=yes)


@task(
    developer=True,
    help={
        "name": "uv, build, host, cpu, bnb, unsloth, export, dev, audit, llamafactory, or all",
        "upgrade": "take the newest versions that the ranges accept; the cpu stack is tried before it is written",
    },
)
def lock(c: Context, name: str, upgrade: bool = False) -> None:
    """Make an environment's lock from its list of wanted packages (developers)."""
    from sftplay.host.dev import lock_upgrade, lockfiles

    if upgrade:
        lock_upgrade.upgrade(lockfiles.chosen(name))
    else:
        lockfiles.make(name)
