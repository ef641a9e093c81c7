"""Facts about the container engine: its images, its containers' ports, and whether containers get
the GPU.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftplay.errors import MachineError, SftplayError
from sftplay.host.containers import engine as engines
from sftplay.host.containers import image_names, of_project
from sftplay.host.containers.available import ImageState, states_of
from sftplay.host.containers.errors import engine_errors
from sftplay.host.doctor.facts import EngineFacts, FolderFacts

_PATIENCE = 30  # seconds for a container that only looks for a device file
_LOOK = "ls /dev/nvidia[0-9]* /dev/dxg 2>/dev/null | grep -q ."


@dataclass(frozen=True)
class EngineAnswers:
    """The engine's answers; the trouble instead if it does not answer.

    Attributes:
        images: present, stale or missing, for each stack.
        ports: port on this machine → (the container that has it, whether it is a TensorBoard of
            this project).
    """

    engine: EngineFacts | None = None
    trouble: SftplayError | None = None
    images: Mapping[str, ImageState] = field(default_factory=dict)
    ports: Mapping[int, tuple[str, bool]] = field(default_factory=dict)


def query_engine(root: Path, *, has_gpu: bool) -> EngineAnswers:
    """Ask the engine that the docker command would use. Without any sign of one: empty answers, and
    no trouble.

    Args:
        has_gpu: start a container that asks for the GPU, if one of sftplay's images is here; it is
            removed at once.
    """
    if not engines.may_be_here():
        return EngineAnswers()
    try:
        found = engines.connect()
        with engine_errors("look at it"):
            info, version = found.api.info(), found.api.version()
            listed = found.api.images(filters={"label": image_names.STACK_LABEL})
            ports = _ports(found.api.containers(), str(root.absolute()))
    except SftplayError as trouble:
        return EngineAnswers(trouble=trouble)
    tried, gpu_trouble = _try_gpu(found.api, _tag_here(listed)) if has_gpu else (False, None)
    answers = EngineFacts(
        host=found.host,
        kind="podman" if found.podman else "docker",
        version=found.version,
        api=str(version.get("ApiVersion", "?")),
        rootless=found.rootless,
        storage=_storage(str(info.get("DockerRootDir") or "")),
        runtimes=tuple(info.get("Runtimes") or ()),
        gpu_tried=tried,
        gpu_trouble=gpu_trouble,
        compose=_compose_version(),
    )
    return EngineAnswers(answers, images=states_of(listed), ports=ports)


def _compose_version() -> str | None:
    """Return the version of docker compose: the docker command's plugin, else the program."""
    for command in (["docker", "compose"], ["docker-compose"]):
        try:
            done = subprocess.run(
                [*command, "version", "--short"],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return done.stdout.strip().removeprefix("v") or None
    return None


def _tag_here(listed: list[dict[str, Any]]) -> str | None:
    """An image of ours to try things with."""
    return next((tag for one in listed for tag in one.get("RepoTags") or ()), None)


def _ports(containers: list[dict[str, Any]], root: str) -> dict[int, tuple[str, bool]]:
    found = {}
    for one in containers:
        labels = one.get("Labels") or {}
        ours = labels.get("sftplay.stage") == "tensorboard" and of_project.is_of(labels, root)
        name = (one.get("Names") or ["?"])[0].lstrip("/")
        found.update(
            {
                port["PublicPort"]: (name, ours)
                for port in one.get("Ports") or ()
                if "PublicPort" in port
            }
        )
    return found


def _storage(root: str) -> FolderFacts:
    """Find the folder in which the engine keeps images. It can't be seen if the engine runs in a
    virtual machine.
    """
    try:
        disk = os.statvfs(root)
        return FolderFacts(Path(root), disk.f_bavail * disk.f_frsize, Path(root).stat().st_dev)
    except OSError:
        return FolderFacts(Path(root or "?"), free=None)


def _try_gpu(api: Any, image: str | None) -> tuple[bool, SftplayError | None]:
    """Start a container that asks for the GPU and looks for its device file: the engine's list of
    runtimes tells too little.
    """
    if image is None:
        return False, None
    from docker.types import DeviceRequest

    request = DeviceRequest(count=-1, capabilities=[["gpu", "compute", "utility"]])
    made = None
    try:
        with engine_errors():
            host = api.create_host_config(
                device_requests=[request], network_mode="none", cap_drop=["ALL"]
            )
            labels = {"sftplay.stage": "doctor"}
            made = api.create_container(
                image, ["-c", _LOOK], entrypoint=["/bin/sh"], labels=labels, host_config=host
            )
            api.start(made["Id"])
            code = api.wait(made["Id"], timeout=_PATIENCE)["StatusCode"]
    except SftplayError as trouble:
        return True, trouble
    finally:
        if made is not None:
            with engine_errors("remove the doctor's container"):
                api.remove_container(made["Id"], force=True)
    if code:
        said = "the engine took the request for a GPU, and the container has none"
        return True, MachineError(
            said, todo="install the NVIDIA container toolkit, or use --runner local"
        )
    return True, None
