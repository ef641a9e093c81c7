"""Stops on their way into a container: each is sent from a thread, since the engine answers when it
is over.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sftplay.host.containers.engine import Engine
from sftplay.host.protocol.signals import STOPS, handle_signals


def stop_soon(engine: Engine, container: str, grace: int) -> threading.Thread:
    """Ask it to save and leave, and end it after `grace` seconds; in a thread, since the engine
    answers when it is over.
    """
    return _in_thread(lambda: engine.api.stop(container, timeout=grace))


def kill_now(engine: Engine, container: str) -> threading.Thread:
    """End it."""
    return _in_thread(lambda: engine.api.kill(container))


def _in_thread(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=quietly, args=(call,), daemon=True)
    thread.start()
    return thread


def quietly(call: Callable[[], Any]) -> None:
    """It may have ended meanwhile, or the engine may be gone: who waits for its end finds that out."""
    import docker.errors
    import requests

    try:
        call()
    except (docker.errors.DockerException, requests.RequestException):
        pass


@contextmanager
def pass_signals_on(engine: Engine, container: str) -> Iterator[list[int]]:
    """Send the first stop to the stage as the signal that it was, and end the container at the
    second.

    Yields:
        The signals received so far.
    """
    received: list[int] = []

    def on(signum: int) -> None:
        received.append(signum)
        number = signum if len(received) == 1 else int(signal.SIGKILL)
        _in_thread(lambda: engine.api.kill(container, signal=number))

    with handle_signals(on, *STOPS):
        yield received
