"""The container engine: connect as the docker command does (DOCKER_HOST, contexts)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftplay.errors import MachineError
from sftplay.host.containers.errors import explain_engine_error

if TYPE_CHECKING:
    from docker.api.client import APIClient

TIMEOUT = 60  # seconds for an answer; streams and waits have none
_CONNECT_TIMEOUT = 10


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    Attributes:
        api: the SDK's low-level client: the high-level one can't set a stop timeout, and hides exit
            codes in exceptions.
        host: its address, as DOCKER_HOST would name it.
        rootless: it runs as the person, who is 0 inside its containers.
        podman: it is podman's docker-compatible service.
    """

    api: APIClient
    host: str
    rootless: bool
    podman: bool
    version: str


def connect() -> Engine:
    """The engine that the docker command would use.

    Raises:
        MachineError: none, or none that can see this machine's folders (69). PermissionDeniedError:
            no rights on its socket (77).
    """
    import docker
    import docker.errors
    import requests

    try:
        client = docker.from_env(version="auto", timeout=_CONNECT_TIMEOUT)
        api = client.api
        host = _address(api)
        info = api.info()
    except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
        raise explain_engine_error(error) from error
    api.timeout = TIMEOUT
    _require_here(host)
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    podman = "podman" in str(info.get("ServerVersion", "")) or any(
        "podman" in str(part.get("Name", "")).lower()
        for part in api.version().get("Components") or ()
    )
    return Engine(
        api=api,
        host=host,
        rootless=any("rootless" in option for option in options) or bool(info.get("Rootless")),
        podman=podman,
        version=str(info.get("ServerVersion", "")),
    )


def may_be_here() -> bool:
    """Return whether it is worth importing the SDK: there is a socket, DOCKER_HOST, or a chosen
    context. Takes microseconds.
    """
    if any(os.environ.get(name) for name in ("DOCKER_HOST", "DOCKER_CONTEXT")):
        return True
    if Path("/var/run/docker.sock").exists():
        return True
    try:
        folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        return "currentContext" in (folder / "config.json").read_text(errors="replace")
    except (OSError, RuntimeError):
        return False


def _address(api: Any) -> str:
    adapter = getattr(api, "_custom_adapter", None)
    path = getattr(adapter, "socket_path", None)
    return f"unix://{path}" if path else str(getattr(adapter, "ssh_host", None) or api.base_url)


def _require_here(host: str) -> None:
    """Folders are mounted from the engine's machine, so it has to be this one."""
    if not host.startswith("unix://") and not any(
        name in host for name in ("localhost", "127.0.0.1")
    ):
        raise MachineError(
            "the container engine is on another machine, and can't see this folder",
            where=host,
            todo="choose an engine of this machine (docker context use default), or use --runner local",
        )
