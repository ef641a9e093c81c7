"""The server's process: socket, key, signals, an end that lets answers end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from sftplay import console
from sftplay.errors import ConfigError, MachineError, NotFoundError, UsageError
from sftplay.untrusted import read_text

PATIENCE = 100  # seconds that answers have to end, once the server is to stop


def read_key(path: str) -> str:
    """Return the API key in a file.

    Raises:
        NotFoundError: no such file (66). ConfigError: no usable key in it (78).
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError("there is no such key file", where=path)
    key = read_text(file, 4096, links=True).strip()
    others = file.stat().st_mode & 0o077
    if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            "a key is one line of 16 characters or more, without spaces",
            where=path,
            todo=f"make one: python3 -c 'import secrets; print(secrets.token_urlsafe())' > {path}",
        )
    if others:
        console.warning(f"{path} can be read by other users of this machine: chmod 600 {path}")
    return key


def check_host(host: str, *, has_key: bool) -> None:
    """Refuse an address beyond this machine where no key is asked for.

    Raises:
        UsageError: no address, or not without a key (2).
    """
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise UsageError(
            f"--host requires an address, got {host!r}", todo="for example --host 127.0.0.1"
        ) from None
    if not local and not has_key:
        raise UsageError(
            f"{host} can be reached from other machines: without a key anybody could use the model",
            todo="add --key-file FILE; or keep 127.0.0.1, and forward the port with ssh -L",
        )


def listen(host: str, port: int) -> socket.socket:
    """Take the port, before anything slow.

    Raises:
        MachineError: it is another's (69). UsageError: no port (2).
    """
    if not 0 < port < 65536:
        raise UsageError(f"--port requires a number from 1 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(128)
    except OSError as error:
        taken.close()
        why = "taken" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
        raise MachineError(
            f"port {port} can't be used: {why}",
            where=f"{host}:{port}",
            todo="inv ps shows what runs here; or choose another: --port N",
        ) from error
    return taken


class SignalServer(uvicorn.Server):
    """A server whose end by a signal is a success, not a death by that signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {kind: signal.signal(kind, self._stop) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        console.info(
            f"stopping: answers that are being written have {PATIENCE} s to end"
            " (a second signal ends them now)"
        )


def serve(app: ASGIApp, taken: socket.socket, *, ready: Callable[[SignalServer], None]) -> None:
    """Answer requests until a signal.

    Args:
        ready: told the server, before its first request.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
        timeout_keep_alive=30,
    )
    server = SignalServer(config)
    ready(server)
    asyncio.run(server.serve(sockets=[taken]))
