"""A rank without torch: takes the agent's variables, does what its number says, leaves a record."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sftplay.ranks import RankRecord, read_plan, write_record


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not so() and time.monotonic() < deadline:
        time.sleep(0.02)


def main() -> None:
    path = Path(os.environ["SFTPLAY_PLAN"])
    plan, rank = read_plan(path), int(os.environ["RANK"])
    act = json.loads(sys.argv[1])[rank]
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: stopped.append(signum))
    (path.parent / f"pid-{rank}").write_text(str(os.getpid()))
    # Whoever ends first has the agent stop the other, which may not have come this far yet.
    pids = [path.parent / f"pid-{one}" for one in range(int(os.environ["WORLD_SIZE"]))]
    wait_until(lambda: all(pid.exists() for pid in pids))

    def leave(code: int, cause: str) -> None:
        record = RankRecord(plan.nonce, rank, 0, code, 0, time.time(), cause, message="it said so")  # type: ignore[arg-type]
        write_record(path.parent, record)
        os._exit(code)

    if act == "wait":
        wait_until(lambda: bool(stopped))
        leave(85, "signal")
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "silent":
        os._exit(3)
    leave(int(act), "own")


if __name__ == "__main__":
    main()
