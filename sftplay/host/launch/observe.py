"""A run's trainings as they are on disk and in the engine: all that the launcher decides by."""

from __future__ import annotations

from sftplay import handover
from sftplay.attempts import Attempt
from sftplay.errors import MachineError, ProtocolError
from sftplay.handover import HandOver
from sftplay.host.containers import training as container_training
from sftplay.host.launch.decide import LaunchState
from sftplay.host.launch.request import ResolvedLaunch
from sftplay.host.local import training as local_training
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Exit, Start


def gather(launch: ResolvedLaunch, watched: int) -> LaunchState:
    """Everything that decides. Nothing of this run is running.

    Args:
        watched: number of the start whose end this launcher has seen with its own eyes; 0: none.
    """
    run, fallback = launch.run, launch.settings.backend_fallback
    start = records.newest(run.launch)
    end = _end_of(launch, start) if start else None
    attempts = run.attempts()
    stamped = [attempt for attempt in attempts if attempt.has_begun]
    return LaunchState(
        call=launch.call,
        enabled=fallback.enabled,
        max_lost_steps=fallback.max_lost_steps,
        newest=start,
        end=end,
        request=_request(launch, start) if start and start.attempt else None,
        ours=start is not None and start.number == watched,
        reported=start is not None and records.seen_file(run.launch, start.number).exists(),
        handed_from=_handed_from(launch, stamped),
        begun=stamped[-1].backend if stamped else "",
    )


def _end_of(launch: ResolvedLaunch, start: Start) -> Exit:
    """Return the end of the newest start. Nothing runs any more, so one without a record was cut
    off.
    """
    end = records.read_exit(launch.run.launch, start)
    if end is not None:
        return end
    if start.is_process:
        local_training.wait_for_trainer(launch.run)
    return records.write_exit(
        launch.run.launch,
        start,
        code=None,
        asked=records.read_asked(launch.run.launch, start.number),
    )


def _request(launch: ResolvedLaunch, start: Start) -> HandOver | ProtocolError | None:
    """Read the attempt's hand-over request. Its container is not trusted: a bad request is returned
    as an error, not raised.
    """
    path = launch.run.folder / "attempts" / start.attempt / handover.FILE
    try:
        return handover.read_untrusted(
            path, run=launch.run.name, attempt=start.attempt, nonce=start.nonce
        )
    except ProtocolError as problem:
        return problem


def _handed_from(launch: ResolvedLaunch, stamped: list[Attempt]) -> str:
    """The attempt whose hand-over was accepted, where no attempt after it got as far as its stamp."""
    words = (word for start in records.every(launch.run.launch) for word in start.argv)
    names = [word.partition("=")[2] for word in words if word.startswith("--handed-over-from=")]
    if not names or any(attempt.number > int(names[-1].partition("-")[0]) for attempt in stamped):
        return ""
    return names[-1]


def running(launch: ResolvedLaunch) -> Start | None:
    """The start that runs in a container. The engine is asked where one was started lately.

    Raises:
        MachineError: it does not answer, and a container of this run may still work (69).
    """
    folder = launch.run.launch
    contained = [start for start in records.every(folder)[-2:] if start.runner == "docker"]
    if not contained:
        return None
    try:
        return container_training.running(launch.engine(), launch.run)
    except MachineError:
        if all(records.read_exit(folder, start) for start in contained):
            return (
                None  # they have ended, so the engine is not needed to continue in the local runner
            )
        raise
