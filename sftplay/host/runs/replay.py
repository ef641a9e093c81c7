"""`inv replay RUN`: the same training again, from the run folder alone, and the proof that it came
out the same.

What the run stood on is checked first: config, template, data, model, lock. A changed byte is
refused with the name of what changed. Then it is trained again next to the old one, in the same
runner, offline; the losses are compared, and on the CPU the weights.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sftplay import console
from sftplay.call import StageCall
from sftplay.cli import parse_call
from sftplay.config import load_config
from sftplay.errors import MachineError, ProtocolError, RefusedError, SftplayError
from sftplay.files import write_json
from sftplay.host.launch.request import LaunchRequest
from sftplay.host.launch.stage import start
from sftplay.host.protocol import records
from sftplay.host.runs import curves
from sftplay.host.runs.compare import flat, unlike
from sftplay.host.runs.replay_checks import RecordedDifference, changed, other_packages, unmatched
from sftplay.host.runs.replay_comparison import compare, say
from sftplay.host.runs.view import RunView, require_run
from sftplay.host.select import choose
from sftplay.host.system import machine
from sftplay.runs import Run
from sftplay.stages import BY_NAME
from sftplay.stamp import Stamp, read_stamp

_MUST_BE_SAME = (
    "device",
    "precision",
    "lock_hash",
    "environment_hash",
    "image_digest",
    "data_hash",
    "template_hash",
    "weights_hash",
)


def run(name: str, *, first: int | None = None) -> int:
    """Replay a run as `<name>-replay`.

    Args:
        first: stop after so many logged losses; default: the whole training.

    Returns:
        0 where it came out the same.

    Raises:
        RefusedError: its weights, or something that it stood on, were changed (76). MachineError: this machine is of
            another kind (69).
    """
    view = require_run(name)
    stamp = read_stamp(view.run.stamp)
    if first is None:
        view.run.require_tuned()  # else a changed weight is seen after the training only
    _check(view, stamp)
    target = Run(_free_name(view.run))
    console.info(
        f"its config, model and environment are as recorded; training again as {target.name}"
    )
    code = _train(view, target, first)
    if code and not (first and code == 85):
        console.error(f"the replay itself ended with {code}; it is in {target.folder}")
        if code == RefusedError.code:
            console.info(
                f"next: bring back the raw files and settings that {name} was trained on, then inv replay {name}"
            )
        return code
    _check_environment(stamp, target)
    compared = compare(view.run, target, whole=first is None)
    exact = stamp.device == "cpu"
    same = compared.is_same(exact=exact)
    say(compared, view.run, target, exact=exact, same=same)
    write_json(target.folder / "replay.json", {"of": name, "same": same, **asdict(compared)})
    return 0 if same else RefusedError.code


def _check(view: RunView, stamp: Stamp) -> None:
    """Refuse what can't come out the same, with everything that stands in the way."""
    found = changed(view.run, stamp)
    if found:
        raise RefusedError(
            f"not what it was when {view.name} was trained:\n" + _listing(found),
            where=str(view.run.folder),
            todo="bring back what was changed (git, a backup, inv fetch), or train a new run",
        )
    settings = load_config(view.run.config)
    lacking = unmatched(stamp, dict(view.record), machine.read_machine(), settings)
    lacking += other_packages(view.run, stamp)
    serious = [one for one in lacking if one.what not in ("processor", "code")]
    if serious:
        raise MachineError(
            f"this machine can't repeat {view.name}; what can't match:\n" + _listing(lacking),
            todo="replay it on a machine of the kind it was trained on; runs.compare shows how near a new run comes",
        )
    for one in lacking:
        console.warning(str(one))


def _listing(found: Sequence[RecordedDifference]) -> str:
    return "\n".join(f"  {one}" for one in found)


def _free_name(run: Run) -> str:
    base = Run(f"{run.name[:55]}-replay")
    return base.free_name() if base.folder.exists() else base.name


def _train(view: RunView, target: Run, first: int | None) -> int:
    """Train with the run's own config, runner, starting adapter and number of threads.

    Returns the exit code.
    """
    starts = list(_starts(view.run))
    runner = starts[-1].runner if starts and starts[-1].runner in choose.RUNNERS else "auto"
    adapter = parse_call(starts[0].argv).options.get("init_adapter") if starts else None
    options = {"no_auto": True, "init_adapter": adapter}
    call = StageCall(BY_NAME["train"], str(view.run.config), target.name, options=options)
    effective = view.record.get("effective")
    threads = effective.get("threads") if isinstance(effective, dict) else None
    with _threads(threads), _stopped_after(target, first):
        return start(LaunchRequest(call, runner))


def _starts(run: Run) -> Iterator[records.Start]:
    for path in sorted(run.launch.glob("start-*.json")):
        try:
            yield records.read_start(path)
        except (SftplayError, ProtocolError):
            continue


@contextmanager
def _threads(count: Any) -> Iterator[None]:
    """Use the run's number of threads: it decides how sums are rounded."""
    before = os.environ.get("OMP_NUM_THREADS")
    if isinstance(count, int) and count > 0:
        os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


@contextmanager
def _stopped_after(target: Run, count: int | None) -> Iterator[None]:
    """Stop the training as a person would, once so many losses are logged."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.3):
            if len(curves.one_curve(target, "loss")) >= (count or 0):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if count:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _check_environment(stamp: Stamp, target: Run) -> None:
    """Compare what only the training itself knows: the image or environment that it ran in.

    Raises:
        RefusedError: it was another one (76).
    """
    stamps = [flat(one.model_dump(mode="json")) for one in (stamp, read_stamp(target.stamp))]
    found = [
        RecordedDifference(key, f"{then} then, {now} now")
        for key, then, now in unlike(stamps)
        if key in _MUST_BE_SAME
    ]
    if found:
        raise RefusedError(
            f"the replay ran on other ground:\n{_listing(found)}", where=str(target.folder)
        )
