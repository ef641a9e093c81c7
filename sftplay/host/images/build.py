"""`inv image.build`: BuildKit makes the image, verification runs it, and only then does it get its
tag.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sftplay import console
from sftplay.errors import MachineError, SftplayError, StorageError
from sftplay.files import free_space, human_size, write_text
from sftplay.host.containers import engine as engines
from sftplay.host.containers import image_names
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.image_names import DOCKERFILE, ImageName
from sftplay.host.images import client, recipe, state, trial
from sftplay.host.images.progress import BuildProgress, stage_titles
from sftplay.host.images.recipe import BaseImage
from sftplay.host.system.checkout import CHECKOUT
from sftplay.host.system.requirements import IMAGE_SIZE
from sftplay.host.ui.status import status_line
from sftplay.places import OUTPUTS

# (words in the build's output, class, what, what to do next); the first that fits.
_CAUSES: tuple[tuple[tuple[str, ...], type[SftplayError], str, str], ...] = (
    (
        ("no space left on device",),
        StorageError,
        "the engine's disk is full",
        "docker system df shows what takes it; inv image.prune removes old images of sftplay",
    ),
    (
        ("hash mismatch", "do not match the hashes"),
        MachineError,
        "a package is not the one that the lock names: nothing was built",
        "if the lock was edited: git checkout -- images; otherwise your package index serves another file under that name",
    ),
    (
        (
            "certificate verify failed",
            "certificate_verify_failed",
            "unknownissuer",
            "invalid peer certificate",
        ),
        MachineError,
        "the network's certificates are not trusted inside the build",
        "export SSL_CERT_FILE=… names your company's file of certificates; the build gets it as a secret",
    ),
    (
        (
            "failed to resolve source metadata",
            "failed to do request",
            "pull access denied",
            "manifest unknown",
        ),
        MachineError,
        "the base image can't be had",
        "is the network there? --base NAME builds on an image that is here (docker images shows them)",
    ),
    (
        (
            "temporary failure in name resolution",
            "temporary failure resolving",
            "failed to fetch",
            "dns error",
        ),
        MachineError,
        "the build has no network",
        "packages come from Debian and PyPI; behind a proxy: export HTTPS_PROXY=…",
    ),
)


def run(
    stacks: Sequence[str], *, base: str | None = None, again: bool = False, verify: bool = True
) -> int:
    """Build the images of these stacks, one after the other.

    Args:
        stacks: none: all of them.
        base: an image that is here, instead of the Dockerfile's pinned one.
        again: also where today's image is here already.
        verify: run it before it gets its tag; else it stays under the tag `unverified-…`.

    Raises:
        MachineError: no engine, no client that can build, or the build failed (69).
            PermissionDeniedError: no rights on the
            engine (77). StorageError: its disk is full (74). UsageError: no such stack (2).
    """
    names = [image_names.current(one) for one in image_names.chosen(stacks)]
    engine = engines.connect()
    tool = client.find()
    start = _base(engine, base or os.environ.get("SFTPLAY_BASE"))
    for name in names:
        if not again and state.find(engine, name) is not None:
            console.success(f"{name.tag} is here and fresh (--again builds it anyway)")
            continue
        _require_space(engine, name)
        begun = time.monotonic()
        candidate = make(engine, tool, name, start)
        size = human_size(state.inspect(engine, candidate).size)
        console.success(f"{name.stack}: built in {time.monotonic() - begun:.0f} s, {size}")
        if verify:
            from sftplay.host.images import verification

            verification.verify(engine, tool, name, candidate)
    return 0


def make(engine: Engine, tool: client.BuildClient, name: ImageName, base: BaseImage) -> str:
    """One build. Returns the tag of the image, which is not verified yet."""
    console.info(f"building {name.tag} on {base.name}, with docker {tool.version} ({tool.path})")
    tag = state.candidate_tag(name)
    words = [
        "--file",
        str(DOCKERFILE),
        "--tag",
        tag,
        "--progress",
        "plain",
        *recipe.arguments(name, base),
        ".",
    ]
    _stream(tool.build(*words), name)
    return tag


def _stream(argv: list[str], name: ImageName) -> None:
    """Run a build and tell its progress; its whole output is kept where it fails."""
    lines: list[str] = []
    with status_line() as show:
        progress = BuildProgress(stage_titles(CHECKOUT / DOCKERFILE), show)
        code = _follow(argv, progress, lines)
    if code:
        log = OUTPUTS / f"error-image-build-{name.stack}.txt"
        write_text(log, "\n".join(lines) + "\n")
        for line in (progress.failed or lines)[-15:]:
            console.info(f"  {line[:200]}")
        raise explain("\n".join(lines), log)


def _follow(argv: list[str], progress: BuildProgress, lines: list[str]) -> int:
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        argv,
        cwd=CHECKOUT,
        env=client.environ(),
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=subprocess.STDOUT,
    )
    assert child.stdout is not None
    done = threading.Event()
    clock = threading.Thread(target=lambda: _tick(progress, done), daemon=True)
    clock.start()
    try:
        with trial.stops("the build"):
            for raw in child.stdout:
                line = raw.decode(errors="replace").rstrip()
                lines.append(line)
                progress.feed(line)
            return child.wait()
    finally:
        done.set()
        clock.join()
        if child.poll() is None:
            child.terminate()
            child.wait()


def _tick(progress: BuildProgress, done: threading.Event) -> None:
    while not done.wait(0.5):
        progress.tick()


def explain(output: str, log: Path) -> SftplayError:
    """Our error for a build that failed, from its output."""
    text = output.lower()
    for words, kind, what, todo in _CAUSES:
        if any(word in text for word in words):
            return kind(what, where=str(log), todo=todo)
    return MachineError(
        "the image could not be built", where=str(log), todo="the last lines are printed above"
    )


def _base(engine: Engine, asked: str | None) -> BaseImage:
    """The pinned base, or an image that is here.

    Its content is then what counts, so it goes by its id.
    """
    if not asked:
        return recipe.pinned_base()
    try:
        found = state.inspect(engine, asked)
    except MachineError as problem:
        todo = "docker images shows those that are; without --base the pinned one is pulled"
        raise MachineError(f"the base image {asked} is missing", todo=todo) from problem
    console.warning(
        f"on {asked} instead of the pinned base: an image to try things with, not to publish"
    )
    return BaseImage(asked, found.id, pinned=False)


def _require_space(engine: Engine, name: ImageName) -> None:
    """Refuse to build without room for the image and for the packages in the build's cache, if the
    engine's disk can be seen.
    """
    folder = Path(str(engine.api.info().get("DockerRootDir") or "/nowhere"))
    if not os.access(folder, os.R_OK):
        return
    needed = 2 * IMAGE_SIZE[name.stack]
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < needed:
        raise StorageError(
            f"{name.stack} needs about {human_size(needed)} on the engine's disk while it is built, {free_space(folder)} are free",
            where=str(folder),
            todo="docker system df shows what takes it; inv image.prune removes old images of sftplay",
        )
