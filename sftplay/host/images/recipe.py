"""Arguments of a build: base, stack, secrets and labels. Decided here, carried out by `build`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sftplay import __version__
from sftplay.errors import MachineError
from sftplay.files import hash_file, hash_files
from sftplay.host.containers import image_names
from sftplay.host.containers.image_names import DOCKERFILE, ImageName
from sftplay.host.system.checkout import CHECKOUT
from sftplay.host.system.requirements import OLDEST_DRIVER, cuda_of

OCI = "org.opencontainers.image"
DOCKERFILE_LABEL, CODE_LABEL, TOOLS_LABEL = "sftplay.dockerfile", "sftplay.code", "sftplay.tools"
CUDA_LABEL, DRIVER_LABEL = "sftplay.cuda", "sftplay.driver"
_CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_BASE = re.compile(r"^ARG BASE=(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class BaseImage:
    """The image that a build starts from.

    Attributes:
        name: as the Dockerfile or the person names it; digest: of the registry, or the id of an
            image that is only here.
        pinned: the Dockerfile's own.
    """

    name: str
    digest: str
    pinned: bool


def pinned_base(root: Path = CHECKOUT) -> BaseImage:
    """The Dockerfile's base: name, tag and digest."""
    found = _BASE.search((root / DOCKERFILE).read_text(encoding="utf-8"))
    if found is None or "@sha256:" not in found[1]:
        raise MachineError(
            "the Dockerfile names no base by digest",
            where=str(DOCKERFILE),
            todo="ARG BASE=name@sha256:…",
        )
    name, _, digest = found[1].partition("@")
    return BaseImage(name, digest, pinned=True)


def arguments(
    name: ImageName, base: BaseImage, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Options of `docker build` for a stack.

    Nothing in them is secret: files of secrets are named, not read.
    """
    torch = "cuda" if cuda_of(CHECKOUT / image_names.lock_of(name.stack)) else "cpu"
    words = [
        "--build-arg",
        f"BASE={base.name}@{base.digest}" if base.pinned else f"BASE={base.name}",
    ]
    words += ["--build-arg", f"STACK={name.stack}", "--build-arg", f"TORCH={torch}"]
    for variable in (
        PROXIES
    ):  # known to every Dockerfile, kept out of layers and history; read from our environment
        words += ["--build-arg", variable] if environ.get(variable) else []
    authority = certificate_authority(environ)
    words += ["--secret", f"id=ca,src={authority}"] if authority else []
    for key, value in labels(name, base).items():
        words += ["--label", f"{key}={value}"]
    return words


def certificate_authority(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file of certificates that this machine's tools are told to trust, where they are told."""
    return next(
        (
            Path(path)
            for key in _CA_VARIABLES
            if (path := environ.get(key)) and Path(path).is_file()
        ),
        None,
    )


def labels(name: ImageName, base: BaseImage) -> dict[str, str]:
    """Labels given on the command line: in the Dockerfile a date would build everything after it
    again.
    """
    cuda = cuda_of(CHECKOUT / image_names.lock_of(name.stack))
    found = {
        f"{OCI}.title": f"sftplay {name.stack}",
        f"{OCI}.description": f"sftplay's {name.stack} stack: every stage of fine-tuning, each package by its hash",
        f"{OCI}.version": __version__,
        f"{OCI}.revision": _revision(),
        f"{OCI}.created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        f"{OCI}.licenses": "Apache-2.0",
        f"{OCI}.base.name": base.name,
        f"{OCI}.base.digest": base.digest,
        image_names.STACK_LABEL: name.stack,
        image_names.CONTEXT_LABEL: name.context_hash,
        image_names.LOCK_LABEL: name.lock_hash,
        **parts(name.stack),
    }
    if cuda:
        found |= {CUDA_LABEL: f"{cuda[0]}.{cuda[1]}", DRIVER_LABEL: str(OLDEST_DRIVER[cuda[0]])}
    return found


def parts(stack: str, root: Path = CHECKOUT) -> dict[str, str]:
    """Hashes of the parts other than the lock, so that a stale image can say which of them has changed."""
    code = [
        root / path for path in image_names.ingredients(stack, root) if path.parts[0] == "sftplay"
    ]
    return {
        DOCKERFILE_LABEL: hash_file(root / DOCKERFILE),
        TOOLS_LABEL: hash_files([root / "images/uv.lock", root / "images/build.lock"], root),
        CODE_LABEL: hash_files(code, root),
    }


def what_changed(labels: Mapping[str, str], name: ImageName) -> Iterator[str]:
    """In words: what of today's checkout is not what an image was made from."""
    today = {image_names.LOCK_LABEL: name.lock_hash, **parts(name.stack)}
    words = {
        image_names.LOCK_LABEL: f"the lock ({image_names.lock_of(name.stack)})",
        DOCKERFILE_LABEL: f"the recipe ({DOCKERFILE})",
        TOOLS_LABEL: "the tools that build it (images/uv.lock, images/build.lock)",
        CODE_LABEL: "sftplay's code",
    }
    yield from (words[key] for key, value in today.items() if labels.get(key) != value)


def _revision() -> str:
    """The commit of this checkout, marked where files differ from it; `unknown` without git."""
    argv = [
        "git",
        "-C",
        str(CHECKOUT),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
