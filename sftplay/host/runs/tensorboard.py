"""TensorBoard in the background, as a process or in a container."""

from __future__ import annotations

import time

from sftplay import console
from sftplay.cli import make_job
from sftplay.errors import BusyError, NotFoundError
from sftplay.host.containers import available
from sftplay.host.containers import tensorboard as container_tensorboard
from sftplay.host.containers.available import AvailableImages
from sftplay.host.local import active, environments
from sftplay.host.runs.background import BackgroundPage
from sftplay.host.select import choose
from sftplay.locks import hold
from sftplay.places import OUTPUTS
from sftplay.settings import Settings

PAGE = BackgroundPage("TensorBoard", "tensorboard", "stop-tb")


def start(*, port: int | None = None, run: str | None = None, runner: str = "auto") -> None:
    """Start it, wait until it answers, and say where.

    Args:
        port: default: tensorboard.port of configs/run_bnb.yaml.
        run: show this run only; default: every run in outputs/.
        runner: auto, docker, local or active.

    Raises:
        MachineError: the port is another's, or TensorBoard does not start (69). NotFoundError: no
            such run (66). BusyError: one runs already, for other runs or on another port (75).
    """
    folder = OUTPUTS / run if run else OUTPUTS
    if run and not folder.is_dir():
        raise NotFoundError(
            f"there is no run {run}", where=str(folder), todo="inv tensorboard shows every run"
        )
    choose.check_runner(runner)
    alone = choose.needs_no_engine(runner, active.named())
    shelf = AvailableImages() if alone else available.find()
    with hold(
        PAGE.lock, what="TensorBoard", who="its start", todo="wait a moment, then the same command"
    ):
        running = PAGE.ours() or (
            container_tensorboard.ours(shelf.engine) if shelf.engine else None
        )
        if running:
            PAGE.report_running(running.folder, running.port, str(folder), port)
            return
        stack = next((name for name in ("cpu", "bnb", "unsloth") if name in shelf.present), "cpu")
        chosen = choose.choose_runner(runner, stack, shelf, active.named())
        wanted = port or make_job(None, None, (), {}).settings.tensorboard.port
        PAGE.require_free(wanted)
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
            words = ["--logdir", str(folder), "--host", "127.0.0.1", "--port", str(wanted)]
            command = [str(python), "-m", "tensorboard.main", *words, "--reload_interval", "15"]
            PAGE.launch(command, {"TF_CPP_MIN_LOG_LEVEL": "2"}, str(folder), wanted)
        PAGE.announce(wanted, time.monotonic() - began)


def start_for(settings: Settings, runner: str) -> None:
    """Start it for a training that comes next."""
    if PAGE.name not in settings.train.trackers:
        console.warning(
            f"this training writes nothing for TensorBoard: train.trackers is {settings.train.trackers}"
        )
    try:
        start(port=settings.tensorboard.port, runner=runner)
    except BusyError as other:  # a page of other runs is no reason not to train
        console.warning(f"{other}; the training continues without a page of its own")


def stop() -> None:
    """Stop the one that was started here, in either runner; any other is left alone."""
    if PAGE.stop():
        return
    engine = available.find().engine
    contained = container_tensorboard.stop(engine) if engine else None
    if contained is None:
        console.success("no TensorBoard of ours is running")
    else:
        console.success(f"TensorBoard on port {contained.port} is stopped, its container removed")
