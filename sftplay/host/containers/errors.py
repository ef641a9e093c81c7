"""Failures of the container engine as our errors: one message each, with the next step."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sftplay.errors import MachineError, PermissionDeniedError, SftplayError, StorageError

_DEFAULT = "unix:///var/run/docker.sock"
# (words in the engine's message, class, what, what to do next). The texts are those of Docker 20.10
# to 29 and of podman 4.
_TEXTS: tuple[tuple[tuple[str, ...], type[SftplayError], str, str], ...] = (
    (
        ("could not select device driver", "unresolvable CDI devices"),
        MachineError,
        "the engine can't give containers the GPU",
        "install the NVIDIA container toolkit and restart the engine, or use --runner local, or --device cpu",
    ),
    (
        ("nvidia-container-cli", "libnvidia-ml"),
        MachineError,
        "the NVIDIA container toolkit is here, but the driver does not answer it",
        "check nvidia-smi on this machine, or use --device cpu",
    ),
    (
        ("unknown runtime specified",),
        MachineError,
        "the engine does not know the runtime that is configured",
        "check default-runtime in /etc/docker/daemon.json",
    ),
    (
        ("no such image", "image not known"),
        MachineError,
        "the image is missing",
        "inv image.ls shows what is; build it: inv image.build NAME, or inv image.pull NAME",
    ),
    (
        ("address already in use", "port is already allocated"),
        MachineError,
        "the port is taken",
        "inv tensorboard --port N uses another one",
    ),
    (
        ("no space left on device",),
        StorageError,
        "the engine's disk is full",
        "docker system df shows what takes it",
    ),
    (
        ("bind source path does not exist", "no such file or directory: "),
        MachineError,
        "a folder that the container needs is not on the engine's machine",
        "is the engine on this machine, and may it see this folder? --runner local does without",
    ),
    (
        ("is too new", "is too old", "client version"),
        MachineError,
        "the engine and this version of the docker library do not understand each other",
        "bring the engine up to date (20.10 or newer)",
    ),
    (
        ("setting rlimit", "setting rlimits"),
        MachineError,
        "the engine may not set a container's limits",
        "",
    ),
    (
        ("catatonit", "docker-init"),
        MachineError,
        "the engine has no init for containers",
        "install catatonit (podman), or docker-init",
    ),
)


@contextmanager
def engine_errors(doing: str = "") -> Iterator[None]:
    """Errors of the SDK become ours.

    Args:
        doing: what was to be done, in the infinitive (`list images`), for the message.
    """
    import docker.errors
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise explain_engine_error(error, doing) from error


def explain_engine_error(error: BaseException, doing: str = "") -> SftplayError:
    """One of our errors for one of the engine's: class, message, next step."""
    causes = list(_chain(error))
    text = _text(error)
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if numbers & {errno.EACCES, errno.EPERM} or "permission denied while trying to connect" in text:
        return PermissionDeniedError(
            "no access to the container engine's socket",
            where=wanted_host(),
            todo="add yourself to its group (sudo usermod -aG docker $USER, then log in again; that is equal to root rights), or run a rootless engine",
        )
    if _unreachable(causes):
        return MachineError(
            "no container engine answers" + (f" ({doing})" if doing else ""),
            where=wanted_host(),
            todo="start it (sudo systemctl start docker), or set DOCKER_HOST, or use --runner local",
        )
    for words, kind, what, todo in _TEXTS:
        if any(word.lower() in text for word in words):
            return kind(
                f"{what}: {_said(error)}" if doing == "" else f"{doing}: {what}",
                where=_said(error) if doing else "",
                todo=todo,
            )
    return MachineError(
        f"the container engine refused{' to ' + doing if doing else ''}: {_said(error)}",
        todo="inv doctor checks it",
    )


def engine_gone(name: str, again: str) -> MachineError:
    """The engine went away while a container ran: nothing is known, and nothing is touched."""
    return MachineError(
        f"the container engine is gone; {name} may continue",
        where=wanted_host(),
        todo=f"once the engine is back, {again}",
    )


def is_gone(error: BaseException) -> bool:
    """Return whether the engine itself no longer answers."""
    return _unreachable(list(_chain(error)))


def wanted_host() -> str:
    """The address that is tried, for messages."""
    if given := os.environ.get("DOCKER_HOST"):
        return given
    try:
        from docker.context import ContextAPI

        host = str(
            ContextAPI.kwargs_from_context(environment=os.environ).get("base_url") or _DEFAULT
        )
        return host.removeprefix("http+")
    except Exception:  # noqa: BLE001 - a damaged ~/.docker is only a missing word in a message
        return _DEFAULT


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, the arguments of urllib3's errors included."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def _unreachable(causes: list[BaseException]) -> bool:
    if any(getattr(cause, "status_code", None) for cause in causes):
        return False  # it answered
    kinds = (FileNotFoundError, ConnectionError, TimeoutError)
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    return any(isinstance(cause, kinds) for cause in causes) or bool(
        names
        & {
            "ConnectionError",
            "ReadTimeout",
            "ConnectTimeout",
            "NewConnectionError",
            "ProtocolError",
            "MaxRetryError",
        }
    )


def _text(error: BaseException) -> str:
    return f"{getattr(error, 'explanation', '') or ''} {error}".lower()


def _said(error: BaseException) -> str:
    """The engine's own words, one line."""
    words = str(getattr(error, "explanation", "") or error)
    return " ".join(words.split())[:300]
