"""trackio's page in the background: always a process in an environment of its own, never a
container, whatever runs the trainings. It reads their records in outputs/.
"""

from __future__ import annotations

import time

from sftplay import console, isolated
from sftplay.errors import BusyError
from sftplay.host.local import environments
from sftplay.host.runs import tracked
from sftplay.host.runs.background import BackgroundPage
from sftplay.host.runs.view import require_run
from sftplay.locks import hold, is_held
from sftplay.places import OUTPUTS
from sftplay.runs import Run

# without it the page smooths: a few points become a horizontal line
PAGE = BackgroundPage("trackio", "trackio", "stop-trackio", "/?smoothing=0")
PORT = 7860  # trackio's own
# Nothing but the runs' records gets into the store, and nothing leaves this machine.
ENVIRON = {
    "TRACKIO_DIR": str(tracked.STORE),
    "TRACKIO_PAUSE_WRITES": "1",  # of the page; the mirror has a way of its own
    "HF_HOME": str(tracked.STORE / "hub"),  # no token and no settings of the user
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}


def start(*, port: int | None = None, run: str | None = None) -> None:
    """Start it, wait until it answers, and say where and what it shows.

    Args:
        port: default: 7860.
        run: show this run only, whatever its trackers are; default: every run that names trackio.

    Raises:
        MachineError: the port is another's, no environment can be made, or the page does not start
            (69). NotFoundError: no such run (66). BusyError: a page runs that was not started here,
            or one for other runs or on another port (75).
    """
    if run:
        require_run(run)
    folder = str(Run(run).folder if run else OUTPUTS)
    with hold(
        PAGE.lock, what="trackio", who="its start", todo="wait a moment, then the same command"
    ):
        running = PAGE.ours()
        if running:
            PAGE.report_running(running.folder, running.port, folder, port)
            return
        _require_no_mirror()
        wanted = port or PORT
        PAGE.require_free(wanted)
        python = str(environments.ensure("trackio").python)
        console.info(f"starting trackio for {folder} on port {wanted}, in its own environment")
        began = time.monotonic()
        words = [str(wanted), *([run] if run else [])]
        command = [*isolated.command("sftplay.host.trackio.page", python), *words]
        PAGE.launch(command, ENVIRON, folder, wanted)
        _pass_on_warnings()
        PAGE.announce(wanted, time.monotonic() - began)
    _say_what_is_shown(run)


def stop() -> None:
    """Stop the one that was started here; any other is left alone."""
    if not PAGE.stop():
        console.success("no trackio of ours is running")


def _require_no_mirror() -> None:
    if is_held(tracked.STORE_LOCK):
        raise BusyError(
            "another page of trackio keeps this store",
            where=str(tracked.STORE),
            todo="stop it where it was started",
        )


def _pass_on_warnings() -> None:
    """Print what the page warned of at its start, such as a damaged store."""
    for line in PAGE.log.read_text(errors="replace").splitlines():
        if line.startswith("! "):
            console.warning(line.removeprefix("! "))


def _say_what_is_shown(only: str | None) -> None:
    runs = [run for run in tracked.candidates(only) if only or tracked.is_tracked(run)]
    empty = [run.name for run in runs if not tracked.trainings(run)]
    if not runs:
        console.info(
            "the page is empty: no run names trackio in train.trackers. A training that does appears"
            " by itself; inv trackio --run NAME shows any run"
        )
        return
    console.info(
        f"it shows {console.count_of(len(runs), 'run')}: {_listed([run.name for run in runs])}"
    )
    if empty:
        console.info(f"no step is logged yet, so nothing to see: {_listed(empty)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
