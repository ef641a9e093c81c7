"""A container with the person's own terminal: raw mode, so that every key (Ctrl-C too) reaches the
stage, and its size follows.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

from sftplay.call import StageCall
from sftplay.host.containers import lifecycle as containers
from sftplay.host.containers import stop as container_stop
from sftplay.host.containers.engine import Engine
from sftplay.host.containers.errors import engine_errors
from sftplay.host.containers.lifecycle import read_end
from sftplay.host.containers.spec import ContainerSpec
from sftplay.host.protocol.signals import handle_signals
from sftplay.host.ui.terminal import copy

_PIECE = 1 << 16


def needs_terminal(call: StageCall) -> bool:
    """Return whether the stage talks with a person: a chat, at a terminal. Without one the stage
    itself reports it.
    """
    asked = any(call.options.get(key) is not None for key in ("prompt", "input"))
    return call.stage.interactive and not asked and _is_terminal(0) and _is_terminal(1)


def run_interactive(engine: Engine, spec: ContainerSpec) -> int:
    """Run a container at this terminal, as `docker run -it` does. Returns its exit code.

    Raises:
        SftplayError: the engine refused, or went away.
    """
    with containers.created(engine, spec) as container:
        with engine_errors("attach to the container"):
            link = engine.api.attach_socket(
                container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
        sys.stdout.flush()
        containers.start(engine, container)
        with _raw_terminal(), _resizing(engine, container), _ending(engine, container):
            _exchange(getattr(link, "_sock", link))
        end = read_end(engine, container, spec.command[0], again="inv ps shows it")
        link.close()
    containers.explain(spec.command[0], end)
    return end.code


def _exchange(link: Any) -> None:
    """Keys there, output here, until the container closes its side."""
    with selectors.DefaultSelector() as both:
        both.register(0, selectors.EVENT_READ)
        both.register(link, selectors.EVENT_READ)
        while True:
            for key, _ in both.select():
                if key.fd == 0:
                    typed = os.read(0, _PIECE)
                    if typed:
                        link.sendall(typed)
                    else:
                        both.unregister(0)
                else:
                    with contextlib.suppress(ConnectionError):
                        said = link.recv(_PIECE)
                        if said and copy(said, 1):
                            continue
                    return


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(engine: Engine, container: str) -> Iterator[None]:
    """The container's terminal has the size of this one, now and whenever it changes."""

    def resize(signum: int = 0) -> None:
        size = os.get_terminal_size(1)
        with contextlib.suppress(Exception):  # it has ended meanwhile
            engine.api.resize(container, height=size.lines, width=size.columns)

    with handle_signals(resize, signal.SIGWINCH):
        resize()
        yield


@contextlib.contextmanager
def _ending(engine: Engine, container: str) -> Iterator[None]:
    """Signals that somebody sends to this process, and a closed terminal, end the chat."""

    def end(signum: int) -> None:
        container_stop.stop_soon(engine, container, 10)

    with handle_signals(end, signal.SIGTERM, signal.SIGHUP):
        yield


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False
