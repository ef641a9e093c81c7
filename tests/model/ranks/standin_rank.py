"""A rank without torch: takes the agent's variables, does what its number says, leaves a record."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from sftplay.ranks import RankRecord, read_plan, write_record


def main() -> None:
    path = Path(os.environ["SFTPLAY_PLAN"])
    plan, rank = read_plan(path), int(os.environ["RANK"])
    act = json.loads(sys.argv[1])[rank]
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, frame: stopped.append(signum))
    (path.parent / f"pid-{rank}").write_text(str(os.getpid()))

    def leave(code: int, cause: str) -> None:
        record = RankRecord(plan.nonce, rank, 0, code, 0, time.time(), cause, message="it said so")  # type: ignore[arg-type]
        write_record(path.parent, record)
        os._exit(code)

    if act == "wait":
        deadline = time.monotonic() + 60
        while not stopped and time.monotonic() < deadline:
            time.sleep(0.02)
        leave(85, "signal")
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "silent":
        os._exit(3)
    leave(int(act), "own")


if __name__ == "__main__":
    main()
