"""A training on this machine: under a supervisor in a session of its own, found again by lock and log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sftplay import console
from sftplay.errors import ProtocolError
from sftplay.host.local import supervisor
from sftplay.host.local.environments import Environment
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Exit, Start
from sftplay.host.protocol.signals import GRACE, Wishes, say_stopping
from sftplay.host.system.checkout import CHECKOUT
from sftplay.host.ui.terminal import copy, settled
from sftplay.locks import is_held
from sftplay.runs import Run

TAIL = 4096  # bytes of earlier output shown when a launcher comes back
_POLL = 0.1


@dataclass(frozen=True)
class LocalSeat:
    """A stack's environment, and the variables of the stage."""

    environment: Environment
    env: Mapping[str, str]
    grace: float = GRACE
    runner: str = "local"

    @property
    def stack(self) -> str:
        return self.environment.stack

    @property
    def made_of(self) -> str:
        return self.environment.environment_hash

    def run(self, run: Run, start: Start, lock: int, wishes: Wishes) -> Exit | None:
        """Start the supervisor, which takes the lock over without a gap, and watch."""
        try:
            supervisor = self._spawn(run, start, lock)
        finally:
            os.close(lock)
        return watch(run, start, wishes, supervisor=supervisor)

    def _spawn(self, run: Run, start: Start, lock: int) -> subprocess.Popen[bytes]:
        command = [str(self.environment.python), "-m", "sftplay", *start.argv]
        terminal = {"SFTPLAY_TERMINAL": str(os.get_terminal_size(2).columns)} if os.isatty(2) else {}
        argv = [
            sys.executable,
            "-m",
            "sftplay.host.local.supervisor",
            str(records.start_file(run.launch, start.number)),
        ]
        held_back = {supervisor.STOP, supervisor.KILL}
        with open(records.output_file(run.launch, start.number), "ab") as output:
            before = signal.pthread_sigmask(
                signal.SIG_BLOCK, held_back
            )  # inherited: no stop is lost before it can be heard
            try:
                return subprocess.Popen(
                    [*argv, str(lock), str(self.grace), *command],
                    env={**self.env, **terminal, "SFTPLAY_NONCE": start.nonce, "PYTHONPATH": str(CHECKOUT)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[lock],
                    start_new_session=True,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


def watch(
    run: Run, start: Start, wishes: Wishes, *, supervisor: subprocess.Popen[bytes] | None = None, tail: bool = False
) -> Exit | None:
    """Copy the stage's output to this terminal until its end, and pass on what the person wants.

    Returns:
        None where the terminal was closed.

    Raises:
        ProtocolError: it is over, and its supervisor has not written how (70).
    """
    passed_on = 0
    with open(records.output_file(run.launch, start.number), "rb") as log:
        if tail:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL))
            copy(settled(log.read()).encode())
        while True:
            over = not is_held(run.launch_lock)  # asked before the last look at the log: nothing is missed
            while piece := log.read(1 << 16):
                copy(piece)
            if over:
                break
            if wishes.hung_up:
                return None
            if len(wishes.stops) > passed_on:
                passed_on += 1
                _ask(run, supervisor, passed_on)
            time.sleep(_POLL)
    if supervisor is not None:
        supervisor.wait()
    end = records.read_exit(run.launch, start)
    if end is None:
        raise ProtocolError(
            "the supervisor of this training was killed, or could not write how it ended",
            where=str(run.launch),
            todo="the same command tells what is left, with --resume it goes on",
        )
    return end


def wait_for_trainer(run: Run, grace: float = GRACE) -> None:
    """A stage whose supervisor was killed is saving its checkpoint: let it."""
    deadline = time.monotonic() + grace
    if is_held(run.run_lock):
        console.info("the training's supervisor was killed; the stage saves a checkpoint: waiting for it")
    while is_held(run.run_lock) and time.monotonic() < deadline:
        time.sleep(_POLL)


def ask_supervisor(run: Run, *, kill: bool, pid: int | None = None) -> None:
    """Tell a training to save and leave, or end it now."""
    pid = pid if pid is not None else _holder(run.launch_lock)
    if pid is not None and is_held(run.launch_lock):  # who holds the lock lives, so the number is still its own
        os.kill(pid, supervisor.KILL if kill else supervisor.STOP)


def _ask(run: Run, supervisor: subprocess.Popen[bytes] | None, count: int) -> None:
    if count == 1:
        say_stopping()
    ask_supervisor(run, kill=count > 1, pid=supervisor.pid if supervisor is not None else None)


def _holder(lock: Path) -> int | None:
    """Process that signed the lock, once it is the supervisor."""
    for _ in range(50):
        try:
            note = json.loads(lock.read_bytes())
        except (OSError, ValueError):
            note = {}
        if note.get("who") == supervisor.WHO:
            return int(note["pid"])
        time.sleep(_POLL)
    return None
