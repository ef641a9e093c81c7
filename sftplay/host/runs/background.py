"""A page that sftplay serves in the background on 127.0.0.1, such as TensorBoard.

What was started is recorded, and only that is ever stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sftplay import console
from sftplay.environment import compose
from sftplay.errors import BusyError, MachineError, SftplayError
from sftplay.files import write_json
from sftplay.host.system.processes import (
    ProcessIdentity,
    answers,
    identify,
    is_free,
    listener,
    name_of,
    next_free,
)
from sftplay.places import OUTPUTS
from sftplay.untrusted import read_json

PATIENCE = 120.0  # seconds until it must answer: a first start compiles its modules
STOP_PATIENCE = 10.0


@dataclass(frozen=True)
class PageProcess:
    """A page that sftplay started: its process, its port, and the folder it shows."""

    process: ProcessIdentity
    port: int
    folder: str


@dataclass(frozen=True)
class BackgroundPage:
    """A page with the task that starts it.

    Attributes:
        title: its name, for people.
        name: that of its task; stop_task: of the one that stops it.
        query: what its address ends in.
    """

    title: str
    name: str
    stop_task: str
    query: str = ""

    @property
    def record(self) -> Path:
        return OUTPUTS / f".{self.name}.json"

    @property
    def log(self) -> Path:
        return OUTPUTS / f".{self.name}.log"

    @property
    def lock(self) -> Path:
        """The lock of its start."""
        return OUTPUTS / f".{self.name}.lock"

    def ours(self) -> PageProcess | None:
        """The one that was started here and still runs; None where its process has ended."""
        try:
            value = read_json(self.record)
            page = PageProcess(
                ProcessIdentity(**value["process"]), int(value["port"]), str(value["folder"])
            )
        except (SftplayError, KeyError, TypeError, ValueError):
            return None
        return page if page.process.is_running() else None

    def report_running(self, shown: str, used: int, folder: str, port: int | None) -> None:
        """Say where it runs already.

        Raises:
            BusyError: it shows another folder than the one asked for, or on another port (75).
        """
        place = self._address(used)
        if shown != folder or port not in (None, used):
            wanted = folder if shown != folder else f"port {port}"
            raise BusyError(
                f"{self.title} already runs for {shown}: {place}; it is not started for {wanted}",
                todo=f"open that page; or stop it first: inv {self.stop_task}, then the same command",
            )
        console.success(f"{self.title} already runs for {shown}: {place}")

    def require_free(self, port: int) -> None:
        """MachineError (69) with the next free port where something listens on this one."""
        if is_free(port):
            return
        owner = listener(port)
        who = f"process {owner} ({name_of(owner)})" if owner else "a process of another user"
        free = next_free(port)
        raise MachineError(
            f"port {port} is taken by {who}",
            where=f"127.0.0.1:{port}",
            todo=f"inv {self.name} --port {free}" if free else "",
        )

    def launch(
        self, command: Sequence[str], environ: Mapping[str, str], folder: str, port: int
    ) -> None:
        """Start its server, record it, and wait until it answers.

        Args:
            environ: variables besides those that every stage gets.

        Raises:
            MachineError: it ended or stays silent; the end of its log is shown (69).
        """
        with open(self.log, "wb") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a closed terminal or Ctrl-C does not end it
                env={
                    **compose(os.environ, network=False),
                    "PYTHONNOUSERSITE": "1",
                    "PYTHONSAFEPATH": "1",  # a json.py in the project is not the server's
                    **environ,
                },
            )
        process = identify(child.pid)
        page = PageProcess(process, port, folder) if process else None
        if page:
            write_json(self.record, asdict(page))
        try:
            self._wait(child, port)
        except BaseException:
            if page:
                _end(page)
            self.record.unlink(missing_ok=True)
            raise

    def announce(self, port: int, seconds: float) -> None:
        """Say where it answers, and how to stop it."""
        console.success(
            f"{self.title}: {self._address(port)} (after {seconds:.0f} s; stop it: inv {self.stop_task})"
        )

    def _address(self, port: int) -> str:
        return f"http://127.0.0.1:{port}{self.query}"

    def stop(self) -> bool:
        """Stop the one that was started here; any other is left alone. False where none runs."""
        running = self.ours()
        self.record.unlink(missing_ok=True)
        if running is None:
            return False
        _end(running)
        console.success(f"{self.title} on port {running.port} is stopped")
        return True

    def _wait(self, child: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if child.poll() is not None:
                break
            if answers(port) and listener(port) == child.pid:  # and nobody who was faster
                return
            time.sleep(0.2)
        tail = "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])
        ended = (
            f"ended with {child.returncode}"
            if child.returncode is not None
            else f"is silent for {PATIENCE:.0f} s"
        )
        raise MachineError(
            f"{self.title} {ended}\n{tail}",
            where=str(self.log),
            todo="see the log, then start it again",
        )


def _end(page: PageProcess) -> None:
    """SIGTERM to its session, SIGKILL where that does not help; only while the process is the
    recorded one.
    """
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if not page.process.is_running():
            return
        os.killpg(page.process.pid, signum)
        deadline = time.monotonic() + STOP_PATIENCE
        while page.process.is_running() and time.monotonic() < deadline:
            time.sleep(0.1)
