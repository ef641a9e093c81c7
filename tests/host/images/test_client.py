"""Docker commands of several kinds, played by scripts that answer as those did (`--version`,
`buildx version`).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftplay.errors import MachineError
from sftplay.host.images import client

OLD = "Docker version 20.10.24+dfsg1, build 297e128"
NEW = "Docker version 28.2.2, build e6534b4"
BUILDX = "github.com/docker/buildx v0.24.0 d0e5e86"


def docker(folder: Path, version: str, buildx: str = "") -> Path:
    folder.mkdir()
    script = folder / "docker"
    plugin = (
        f"echo '{buildx}'"
        if buildx
        else "echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1"
    )
    script.write_text(
        f'#!/bin/sh\nif [ "$1" = buildx ]; then {plugin}; else echo "{version}"; fi\n'
    )
    script.chmod(0o755)
    return folder


def test_an_old_one_has_it_built_in(tmp_path: Path) -> None:
    found = client.find(str(docker(tmp_path / "a", OLD)))
    assert (found.version, found.buildx) == ("20.10.24+dfsg1", False)
    assert found.build("--tag", "x", ".")[1:] == ["build", "--tag", "x", "."]


def test_a_new_one_needs_the_plugin(tmp_path: Path) -> None:
    found = client.find(str(docker(tmp_path / "a", NEW, BUILDX)))
    assert (found.version, found.buildx) == ("28.2.2", True)
    assert found.build(".")[1:4] == ["buildx", "build", "--load"]


def test_the_next_on_the_path_is_taken_where_the_first_can_not_build(tmp_path: Path) -> None:
    folders = [docker(tmp_path / "a", NEW), docker(tmp_path / "b", OLD)]
    found = client.find(os.pathsep.join(map(str, folders)))
    assert found.path == folders[1] / "docker"


@pytest.mark.parametrize(
    ("version", "said"), [(NEW, "28.2.2, without buildx"), ("podman version 4.3.1", "podman")]
)
def test_one_that_can_not_build_is_named_with_what_to_install(
    version: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(MachineError, match="BuildKit") as caught:
        client.find(str(docker(tmp_path / "a", version)))
    assert said in caught.value.where
    assert "buildx" in caught.value.todo
    assert "docker.io" in caught.value.todo


def test_no_docker_command_at_all(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no docker command") as caught:
        client.find(str(tmp_path))
    assert "docker.io" in caught.value.todo


def test_the_same_command_under_two_names_is_looked_at_once(tmp_path: Path) -> None:
    first = docker(tmp_path / "a", NEW)
    (tmp_path / "b").symlink_to(first)
    with pytest.raises(MachineError) as caught:
        client.find(f"{first}{os.pathsep}{tmp_path / 'b'}")
    assert caught.value.where.count("28.2.2") == 1
