"""What is on disk, and in the engine, about a run's trainings: all that the launcher decides by."""

from __future__ import annotations

from sftplay import handover
from sftplay.errors import MachineError, ProtocolError
from sftplay.handover import HandOver
from sftplay.host.containers import training as container_training
from sftplay.host.launch.decide import Facts
from sftplay.host.launch.runner import Order
from sftplay.host.local import training as local_training
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Exit, Start
from sftplay.runs import Attempt


def gather(order: Order, watched: int) -> Facts:
    """Everything that decides. Nothing of this run is running.

    Args:
        watched: number of the start whose end this launcher has seen with its own eyes; 0: none.
    """
    run, fallback = order.run, order.settings.backend_fallback
    start = records.newest(run.launch)
    end = _end_of(order, start) if start else None
    attempts = run.attempts()
    stamped = [attempt for attempt in attempts if attempt.has_begun]
    return Facts(
        argv=order.call.argv,
        enabled=fallback.enabled,
        max_lost_steps=fallback.max_lost_steps,
        newest=start,
        end=end,
        request=_request(order, start) if start and start.attempt else None,
        ours=start is not None and start.number == watched,
        told=start is not None and records.seen_file(run.launch, start.number).exists(),
        handed_from=_handed_from(order, stamped),
        begun=stamped[-1].backend if stamped else "",
    )


def _end_of(order: Order, start: Start) -> Exit:
    """How the newest start ended; nothing runs any more, so one that nobody wrote down was cut off."""
    end = records.read_exit(order.run.launch, start)
    if end is not None:
        return end
    if start.runner == "local":
        local_training.wait_for_trainer(order.run)
    return records.write_exit(
        order.run.launch, start, code=None, asked=records.read_asked(order.run.launch, start.number)
    )


def _request(order: Order, start: Start) -> HandOver | ProtocolError | None:
    """What the attempt asked for. Its container is not trusted: a request that can't be believed is said, not raised."""
    path = order.run.folder / "attempts" / start.attempt / handover.FILE
    try:
        return handover.read_untrusted(path, run=order.run.name, attempt=start.attempt, nonce=start.nonce)
    except ProtocolError as problem:
        return problem


def _handed_from(order: Order, stamped: list[Attempt]) -> str:
    """The attempt whose hand-over was accepted, where no attempt after it got as far as its stamp."""
    words = (word for start in records.every(order.run.launch) for word in start.argv)
    names = [word.partition("=")[2] for word in words if word.startswith("--handed-over-from=")]
    if not names or any(attempt.number > int(names[-1].partition("-")[0]) for attempt in stamped):
        return ""
    return names[-1]


def in_container(order: Order) -> Start | None:
    """The start that runs in a container. The engine is asked where one was started lately.

    Raises:
        MachineError: it does not answer, and a container of this run may still work (69).
    """
    folder = order.run.launch
    contained = [start for start in records.every(folder)[-2:] if start.runner == "docker"]
    if not contained:
        return None
    try:
        return container_training.running(order.engine(), order.run)
    except MachineError:
        if all(records.read_exit(folder, start) for start in contained):
            return None  # they have ended, so the engine is not needed to go on in the local runner
        raise
