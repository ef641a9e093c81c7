"""A docker command that can build: the SDK has no BuildKit, and not every docker command has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftplay.errors import MachineError

_BUILT_IN_UNTIL = 23  # from Docker 23 on, BuildKit is in a plugin of its own, buildx


@dataclass(frozen=True)
class BuildClient:
    """A docker command with BuildKit, and how it has it: as the plugin buildx, or built in."""

    path: Path
    version: str
    buildx: bool

    def build(self, *words: str) -> list[str]:
        """The command line of a build whose result the engine keeps; `environ` belongs to it."""
        return [
            str(self.path),
            *(("buildx", "build", "--load") if self.buildx else ("build",)),
            *words,
        ]


def find(path: str | None = None) -> BuildClient:
    """The first docker command on the PATH that has BuildKit.

    Args:
        path: folders to look in, as in PATH (default: PATH).

    Raises:
        MachineError: there is none; says what to install (69).
    """
    without = []
    for command in _on_path(path):
        client = _look(command)
        if isinstance(client, BuildClient):
            return client
        without.append(f"{command} ({client})")
    if without:
        said = (
            "the docker command here can't build: it has no BuildKit"
            if len(without) == 1
            else "no BuildKit here"
        )
        todo = "install its plugin buildx (docker-buildx-plugin of Docker's own packages), or Debian's docker.io"
        raise MachineError(said, where=", ".join(without), todo=todo)
    raise MachineError(
        "no docker command on the PATH: images are built with it",
        todo="install one: sudo apt install docker.io",
    )


def environ() -> dict[str, str]:
    """Environment of a build: BuildKit, also where the docker command would still take the old
    builder.
    """
    return {**os.environ, "DOCKER_BUILDKIT": "1"}


def _on_path(path: str | None) -> Iterator[Path]:
    """Every docker command, the same file only once."""
    seen = set()
    for folder in (path if path is not None else os.environ.get("PATH", os.defpath)).split(
        os.pathsep
    ):
        found = shutil.which("docker", path=folder) if folder else None
        if found and os.path.realpath(found) not in seen:
            seen.add(os.path.realpath(found))
            yield Path(found)


def _look(command: Path) -> BuildClient | str:
    """The client, or why it is none."""
    said = _output([str(command), "--version"])
    number = re.search(r"[Vv]ersion (\d+)\.\S*", said)
    if "podman" in said.lower():
        return "podman"
    if number is None:
        return "does not say its version"
    version = number[0].split()[1].rstrip(",")
    if _output([str(command), "buildx", "version"]).startswith("github.com/docker/buildx"):
        return BuildClient(command, version, buildx=True)
    if int(number[1]) < _BUILT_IN_UNTIL:
        return BuildClient(command, version, buildx=False)
    return f"{version}, without buildx"


def _output(argv: list[str]) -> str:
    """Return what a command prints; empty if it fails."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
