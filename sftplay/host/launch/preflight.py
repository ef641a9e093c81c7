"""The `no_gpu` hand-over, written by the launcher before any download where this machine has no
GPU.
"""

from __future__ import annotations

from sftplay import handover
from sftplay.attempts import Attempt
from sftplay.handover import HandOver
from sftplay.host.launch.request import ResolvedLaunch
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Start


def refuse(launch: ResolvedLaunch, attempt: Attempt) -> Start:
    """Write the hand-over that the Unsloth stack would ask for here, without starting or fetching
    it.
    """
    run = launch.run
    start = records.new_start(
        run.launch,
        launch.call.with_options(attempt=attempt.number).argv,
        stack="unsloth",
        runner="preflight",
        attempt=attempt.name,
    )
    attempt.folder.mkdir(parents=True, exist_ok=True)
    asked = HandOver(
        run=run.name,
        attempt=attempt.name,
        nonce=start.nonce,
        phase="preflight",
        reason="no_gpu",
        message=launch.no_gpu,
    )
    handover.write(attempt.folder, asked)
    run.record_event(
        "handed over",
        attempt=attempt.name,
        phase=asked.phase,
        reason=asked.reason,
        step=0,
        to=asked.target,
    )
    records.write_exit(run.launch, start, code=79, asked="")
    return start
