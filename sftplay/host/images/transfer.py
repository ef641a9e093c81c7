"""Layers on their way to or from a registry: the engine's events as progress, and its errors as
ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sftplay import console
from sftplay.errors import (
    MachineError,
    NotFoundError,
    PermissionDeniedError,
    RefusedError,
    SftplayError,
    StorageError,
)
from sftplay.files import human_size
from sftplay.host.containers.errors import explain_engine_error
from sftplay.host.ui.status import on_a_terminal

_EVERY = 30.0  # seconds between two lines where no terminal shows a bar
_MOVING = ("Downloading", "Pushing")
_DONE = (
    "Download complete",
    "Pull complete",
    "Pushed",
    "Layer already exists",
    "Already exists",
    "Mounted from",
)

# (words in the engine's message, class, what, what to do next). The texts are those of engines
# 20.10 to 29.
_TEXTS: tuple[tuple[tuple[str, ...], type[SftplayError], str, str], ...] = (
    (
        (
            "manifest verification failed",
            "layer verification failed",
            "unexpected commit digest",
            "digest mismatch",
        ),
        RefusedError,
        "what the registry sent is not what its digest names: nothing was taken",
        "do not use this registry until it is known why; inv image.build makes the image here",
    ),
    (
        (
            "manifest unknown",
            "manifest for",
            "not found",
            "name unknown",
            "repository does not exist",
        ),
        NotFoundError,
        "the registry does not have this image",
        "was it removed there? inv image.build makes it here",
    ),
    (
        (
            "unauthorized",
            "authentication required",
            "denied",
            "no basic auth credentials",
            "forbidden",
        ),
        PermissionDeniedError,
        "the registry requires a login",
        "docker login, for the registry named above",
    ),
    (
        ("no space left on device",),
        StorageError,
        "the engine's disk is full",
        "docker system df shows what takes it",
    ),
    (
        (
            "connection refused",
            "no such host",
            "i/o timeout",
            "connection reset",
            "no route to host",
            "eof",
        ),
        MachineError,
        "the registry does not answer",
        "is it up, and the network there? inv image.build makes the image here",
    ),
    (
        ("http response to https client", "certificate signed by unknown authority", "x509"),
        MachineError,
        "the registry's certificate is not trusted by the engine",
        "see insecure-registries in the engine's settings, or add the registry's certificate to it",
    ),
)


def follow(events: Iterable[Mapping[str, Any]], what: str) -> list[Mapping[str, Any]]:
    """Read a push or pull to its end, telling its progress. Returns what the engine said otherwise
    (`aux`).

    Raises:
        SftplayError: the class that fits what the engine reports.
    """
    layers: dict[str, tuple[int, int]] = {}
    aux: list[Mapping[str, Any]] = []
    said = time.monotonic()
    with _bar(what) as bar:
        for event in events:
            if "error" in event:
                raise explain(str(event["error"]), what)
            if "aux" in event:
                aux.append(event["aux"])
            _note(layers, event)
            bar.show(layers)
            if not bar.live and time.monotonic() - said > _EVERY:
                said = time.monotonic()
                unpacking = ", unpacking" if event.get("status") == "Extracting" else ""
                console.info(f"{what}: {_amount(layers)}{unpacking} …")
    return aux


@contextmanager
def registry_errors(doing: str) -> Iterator[None]:
    """Raise the engine's answers as errors of the registry, and its silence as an error of the
    engine.
    """
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise explain(str(error.explanation or error), doing) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise explain_engine_error(error, doing) from error


def explain(text: str, where: str) -> SftplayError:
    """Our error for a registry's or the engine's words."""
    small = text.lower()
    for words, kind, what, todo in _TEXTS:
        if any(word in small for word in words):
            return kind(f"{what} ({' '.join(text.split())[:200]})", where=where, todo=todo)
    return MachineError(
        f"the engine says: {' '.join(text.split())[:300]}", where=where, todo="inv doctor checks it"
    )


def _note(layers: dict[str, tuple[int, int]], event: Mapping[str, Any]) -> None:
    layer, status, detail = (
        event.get("id"),
        str(event.get("status", "")),
        event.get("progressDetail") or {},
    )
    if not layer:
        return
    if status in _MOVING and detail.get("total"):
        layers[layer] = (
            min(int(detail.get("current", 0)), int(detail["total"])),
            int(detail["total"]),
        )
    elif status.startswith(_DONE) and layer in layers:
        layers[layer] = (layers[layer][1], layers[layer][1])


def _amount(layers: Mapping[str, tuple[int, int]]) -> str:
    moved, total = (sum(pair[number] for pair in layers.values()) for number in (0, 1))
    return f"{human_size(moved)} of {human_size(total)}"


class _bar:  # noqa: N801 - used as a function: `with _bar(…) as bar`
    """One bar over all layers, where stderr is a terminal."""

    def __init__(self, what: str) -> None:
        self.live = on_a_terminal()
        self._what = what
        self._progress: Any = None

    def __enter__(self) -> _bar:
        if self.live:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task(self._what, total=None)
            self._progress.start()
        return self

    def show(self, layers: Mapping[str, tuple[int, int]]) -> None:
        if self._progress is not None and layers:
            moved, total = (sum(pair[number] for pair in layers.values()) for number in (0, 1))
            self._progress.update(self._task, completed=moved, total=total)

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()
