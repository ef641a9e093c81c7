"""Nobody downloads a CUDA stack to be told that there is no GPU: the launcher itself writes what Unsloth would have said."""

from __future__ import annotations

from sftplay import handover
from sftplay.handover import HandOver
from sftplay.host.launch.runner import Order
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Start
from sftplay.runs import Attempt


def refuse(order: Order, attempt: Attempt) -> Start:
    """What the Unsloth stack would say here, without starting (or fetching) it: the launcher's own hand-over of this attempt."""
    run = order.run
    start = records.new_start(
        run.launch,
        [*order.call.argv, f"--attempt={attempt.number}"],
        stack="unsloth",
        runner="preflight",
        attempt=attempt.name,
    )
    attempt.folder.mkdir(parents=True, exist_ok=True)
    asked = HandOver(
        run=run.name, attempt=attempt.name, nonce=start.nonce, phase="preflight", reason="no_gpu", message=order.no_gpu
    )
    handover.write(attempt.folder, asked)
    run.record_event(
        "handed over", attempt=attempt.name, phase=asked.phase, reason=asked.reason, step=0, to=asked.target
    )
    records.write_exit(run.launch, start, code=79, asked="")
    return start
