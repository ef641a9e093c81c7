"""A training on this machine: under a supervisor in a session of its own, found again by lock and
log.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sftplay import console, isolated
from sftplay.errors import ProtocolError
from sftplay.host.local import supervisor
from sftplay.host.local.environments import Environment
from sftplay.host.protocol import records
from sftplay.host.protocol.launch_lock import LaunchLock
from sftplay.host.protocol.records import Exit, Start
from sftplay.host.protocol.signals import GRACE, StopSignals, announce_stop
from sftplay.host.ui.terminal import copy, settled
from sftplay.locks import is_held, read_note
from sftplay.runs import Run

TAIL = 4096  # bytes of earlier output shown when a launcher comes back
_POLL = 0.1


@dataclass(frozen=True)
class LocalTrainingRunner:
    """A stack's environment, and the variables of the stage.

    Attributes:
        grace: seconds between the first stop and the kill.
    """

    environment: Environment
    env: Mapping[str, str]
    grace: float = GRACE

    @property
    def name(self) -> str:
        return self.environment.runner

    @property
    def stack(self) -> str:
        return self.environment.stack

    @property
    def digest(self) -> str:
        return self.environment.environment_hash

    def start(self, run: Run, start: Start, lock: LaunchLock) -> LocalTraining:
        """Start the supervisor, which takes the lock over without a gap."""
        command = [*isolated.command("sftplay", str(self.environment.python)), *start.argv]
        paths = self.env.get("PYTHONPATH")
        if paths:  # packages of another Python are not for the supervisor
            command = ["env", f"PYTHONPATH={paths}", *command]
        if self.environment.freeze:
            records.write_packages(run.launch, start.number, self.environment.freeze)
        terminal = (
            {"SFTPLAY_TERMINAL": str(os.get_terminal_size(2).columns)} if os.isatty(2) else {}
        )
        own = {key: value for key, value in self.env.items() if key != "PYTHONPATH"}
        argv = isolated.command("sftplay.host.local.supervisor")
        argv += [str(records.start_file(run.launch, start.number)), str(lock.fd), str(self.grace)]
        # Blocked, which children inherit: no stop is lost before the supervisor can receive it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {supervisor.STOP, supervisor.KILL})
        try:
            with open(records.output_file(run.launch, start.number), "ab") as output:
                process = subprocess.Popen(
                    [*argv, *command],
                    env={**own, **terminal, "SFTPLAY_NONCE": start.nonce},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[lock.fd],
                    start_new_session=True,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            lock.release()
        return LocalTraining(run, start, process)


@dataclass(frozen=True)
class LocalTraining:
    """A training that runs under a supervisor.

    Attributes:
        process: the supervisor, where this launcher started it; an adopted training has none, and
            its last lines are shown.
    """

    run: Run
    start: Start
    process: subprocess.Popen[bytes] | None = None

    def watch(self, signals: StopSignals) -> Exit | None:
        """Copy the stage's output to this terminal until its end, and pass stops on.

        Returns:
            None where the terminal was closed.

        Raises:
            ProtocolError: it is over, and its supervisor has not written how (70).
        """
        passed_on = 0
        with open(records.output_file(self.run.launch, self.start.number), "rb") as log:
            if self.process is None:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL))
                copy(settled(log.read()).encode())
            while True:
                over = not is_held(
                    self.run.launch_lock
                )  # asked before the last look at the log: nothing is missed
                while piece := log.read(1 << 16):
                    copy(piece)
                if over:
                    break
                if signals.hung_up:
                    return None
                if len(signals.stops) > passed_on:
                    passed_on += 1
                    self._pass_on(passed_on)
                time.sleep(_POLL)
        if self.process is not None:
            self.process.wait()
        return self._read_end()

    def _pass_on(self, count: int) -> None:
        if count == 1:
            announce_stop()
        request_stop(
            self.run, kill=count > 1, pid=self.process.pid if self.process is not None else None
        )

    def _read_end(self) -> Exit:
        end = records.read_exit(self.run.launch, self.start)
        if end is None:
            raise ProtocolError(
                "the supervisor of this training was killed, or could not write how it ended",
                where=str(self.run.launch),
                todo="the same command reports what is left; with --resume it continues",
            )
        return end


def wait_for_trainer(run: Run, grace: float = GRACE) -> None:
    """A stage whose supervisor was killed is saving its checkpoint: let it."""
    deadline = time.monotonic() + grace
    if is_held(run.run_lock):
        console.info(
            "the training's supervisor was killed; the stage saves a checkpoint: waiting for it"
        )
    while is_held(run.run_lock) and time.monotonic() < deadline:
        time.sleep(_POLL)


def request_stop(run: Run, *, kill: bool, pid: int | None = None) -> None:
    """Tell a training to save and leave, or end it now."""
    pid = pid if pid is not None else _holder(run.launch_lock)
    if pid is not None and is_held(
        run.launch_lock
    ):  # who holds the lock lives, so the number is still its own
        os.kill(pid, supervisor.KILL if kill else supervisor.STOP)


def is_supervised(run: Run) -> bool:
    """Return whether a supervisor holds the run, and not a launcher that is about to start one."""
    return is_held(run.launch_lock) and read_note(run.launch_lock).get("who") == supervisor.WHO


def _holder(lock: Path) -> int | None:
    """Process that signed the lock, once it is the supervisor."""
    for _ in range(50):
        note = read_note(lock)
        if note.get("who") == supervisor.WHO and isinstance(note.get("pid"), int):
            return int(note["pid"])
        time.sleep(_POLL)
    return None
