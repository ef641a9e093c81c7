"""TensorBoard in the background on 127.0.0.1.

What was started is recorded, and only that is ever stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sftplay import console
from sftplay.cli import make_job
from sftplay.environment import compose
from sftplay.errors import MachineError, NotFoundError, SftplayError
from sftplay.files import write_json
from sftplay.host.containers import available
from sftplay.host.containers import tensorboard as container_tensorboard
from sftplay.host.containers.available import AvailableImages
from sftplay.host.local import active, environments
from sftplay.host.select import choose
from sftplay.host.system.processes import (
    ProcessIdentity,
    identify,
    is_free,
    listener,
    name_of,
    next_free,
)
from sftplay.locks import hold
from sftplay.places import OUTPUTS
from sftplay.untrusted import read_json

RECORD = OUTPUTS / ".tensorboard.json"
LOG = OUTPUTS / ".tensorboard.log"
LOCK = OUTPUTS / ".tensorboard.lock"
PATIENCE = 120.0  # seconds until it must answer: a first start compiles its modules
STOP_PATIENCE = 10.0


@dataclass(frozen=True)
class BoardProcess:
    """A TensorBoard that sftplay started: its process, its port, and the folder it shows."""

    process: ProcessIdentity
    port: int
    folder: str


def start(*, port: int | None = None, run: str | None = None, runner: str = "auto") -> None:
    """Start it, wait until it answers, and say where.

    Args:
        port: default: tensorboard.port of configs/run_bnb.yaml.
        run: show this run only; default: every run in outputs/.
        runner: auto, docker, local or active.

    Raises:
        MachineError: the port is another's, or TensorBoard does not start (69). NotFoundError: no
            such run (66).
    """
    folder = OUTPUTS / run if run else OUTPUTS
    if run and not folder.is_dir():
        raise NotFoundError(
            f"there is no run {run}", where=str(folder), todo="inv tensorboard shows every run"
        )
    choose.check_runner(runner)
    alone = choose.needs_no_engine(runner, active.named())
    shelf = AvailableImages() if alone else available.find()
    with hold(LOCK, who="the start of TensorBoard", todo="wait a moment"):
        running = ours() or (container_tensorboard.ours(shelf.engine) if shelf.engine else None)
        if running:
            _report_running(running.folder, running.port, str(folder), port)
            return
        stack = next((name for name in ("cpu", "bnb", "unsloth") if name in shelf.present), "cpu")
        chosen = choose.choose_runner(runner, stack, shelf, active.named())
        wanted = port or make_job(None, None, (), {}).settings.tensorboard.port
        _require_free(wanted)
        console.info(
            f"starting TensorBoard for {folder} on port {wanted}: {chosen.value} runner ({chosen.reason})"
        )
        began = time.monotonic()
        if chosen.value == "docker":
            assert shelf.engine is not None
            container_tensorboard.launch(shelf.engine, stack, str(folder), wanted)
        else:
            own = chosen.value == active.NAME
            python = active.find() if own else environments.ensure("cpu").python
            _launch(python, folder, wanted)
        seconds = time.monotonic() - began
        console.success(
            f"TensorBoard: http://127.0.0.1:{wanted} (after {seconds:.0f} s; stop it: inv stop-tb)"
        )


def stop() -> None:
    """Stop the one that was started here, in either runner; any other is left alone."""
    running = ours()
    RECORD.unlink(missing_ok=True)
    if running is not None:
        _end(running)
        console.success(f"TensorBoard on port {running.port} is stopped")
        return
    engine = available.find().engine
    contained = container_tensorboard.stop(engine) if engine else None
    if contained is None:
        console.success("no TensorBoard of ours is running")
    else:
        console.success(f"TensorBoard on port {contained.port} is stopped, its container removed")


def ours() -> BoardProcess | None:
    """The TensorBoard that was started here and still runs; None where its process has ended."""
    try:
        value = read_json(RECORD)
        board = BoardProcess(
            ProcessIdentity(**value["process"]), int(value["port"]), str(value["folder"])
        )
    except (SftplayError, KeyError, TypeError, ValueError):
        return None
    return board if board.process.is_running() else None


def _report_running(shown: str, used: int, folder: str, port: int | None) -> None:
    console.success(f"TensorBoard already runs for {shown}: http://127.0.0.1:{used}")
    if shown != folder or port not in (None, used):
        console.info("next: inv stop-tb first, for another folder or port")


def _require_free(port: int) -> None:
    if is_free(port):
        return
    owner = listener(port)
    who = f"process {owner} ({name_of(owner)})" if owner else "a process of another user"
    free = next_free(port)
    raise MachineError(
        f"port {port} is taken by {who}",
        where=f"127.0.0.1:{port}",
        todo=f"inv tensorboard --port {free}" if free else "",
    )


def _launch(python: Path, folder: Path, port: int) -> None:
    words = [
        "--logdir",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--reload_interval",
        "15",
    ]
    with open(LOG, "wb") as log:
        child = subprocess.Popen(
            [str(python), "-m", "tensorboard.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a closed terminal or Ctrl-C does not end it
            env={
                **compose(os.environ, network=False),
                "PYTHONNOUSERSITE": "1",
                "PYTHONSAFEPATH": "1",  # a json.py in the project is not TensorBoard's
                "TF_CPP_MIN_LOG_LEVEL": "2",
            },
        )
    process = identify(child.pid)
    board = BoardProcess(process, port, str(folder)) if process else None
    if board:
        write_json(RECORD, asdict(board))
    try:
        _wait(child, port)
    except BaseException:
        if board:
            _end(board)
        RECORD.unlink(missing_ok=True)
        raise


def _wait(child: subprocess.Popen[bytes], port: int) -> None:
    """Return once it answers; MachineError with the end of its log where it ended or stays silent."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        if container_tensorboard.answers(port):
            return
        time.sleep(0.2)
    tail = "\n".join(LOG.read_text(errors="replace").strip().splitlines()[-3:])
    ended = (
        f"ended with {child.returncode}"
        if child.returncode is not None
        else f"is silent for {PATIENCE:.0f} s"
    )
    raise MachineError(
        f"TensorBoard {ended}\n{tail}", where=str(LOG), todo="see the log, then start it again"
    )


def _end(board: BoardProcess) -> None:
    """SIGTERM to its session, SIGKILL where that does not help; only while the process is the
    recorded one.
    """
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if not board.process.is_running():
            return
        os.killpg(board.process.pid, signum)
        deadline = time.monotonic() + STOP_PATIENCE
        while board.process.is_running() and time.monotonic() < deadline:
            time.sleep(0.1)
