"""How long a start takes: `inv bench --what starts`. Figures to reach: `inv --list` 0.4 s, a set-up seen to be done 0.3 s.

Each is the median of seven starts; the machine should be idle.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
VENV = CHECKOUT / ".venv" / "bin"
SEEN = "from sftplay.host import bootstrap; assert bootstrap.is_done()"
COMMANDS = {
    "inv --list": [str(VENV / "inv"), "--list"],
    "python3 tasks.py --list": ["python3", "tasks.py", "--list"],
    "a set-up that is done is seen": ["python3", "-c", SEEN],
    "python -m sftplay process --help": [sys.executable, "-m", "sftplay", "process", "--help"],
}
TIMES = 7


def seconds(command: list[str]) -> float:
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=True)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> None:
    for name, command in COMMANDS.items():
        print(f"{name:<34} {seconds(command):.2f} s")


if __name__ == "__main__":
    main()
