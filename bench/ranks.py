"""Ranks against one process on the same cores: `inv bench ranks`.

On one machine's CPU no speed-up can be expected: what shows is the cost of the ranks. The losses
are the same, and the benchmark says how far apart they are.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from bench._project import ALL_TO_TRAIN, COMMON, Work, run_stage, sets, take_losses, work
from bench._versus import Taken, parser_of, ratios, seconds, show, take_turns, write

ALONE, TOGETHER = "one process", "two ranks"


def main(argv: list[str]) -> int:
    parser = parser_of("ranks", rounds=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rows", metavar="FILE")
    options = parser.parse_args(argv)
    with work(options.rows, options.steps) as task:
        contestants = {
            name: lambda count=count: _train(task, count)  # type: ignore[misc]
            for name, count in ((ALONE, 1), (TOGETHER, 2))
            if not options.only or name in options.only
        }
        turns = take_turns(contestants, options.rounds)
    if len(turns) < 2:
        return 0
    one, two = (turns[name][0].facts["losses"] for name in (ALONE, TOGETHER))
    apart = max(abs(a - b) / a for a, b in zip(one, two, strict=True))
    table = show(
        f"{options.steps} steps of 4 rows, LoRA in fp32: two ranks with half of the cores each",
        ("two ranks against one process", "ratio"),
        [
            ("seconds of all steps", ratios(turns, TOGETHER, ALONE, seconds)),
            ("from Enter to the first step", ratios(turns, TOGETHER, ALONE, _first_step)),
            ("largest difference of a logged loss", f"{apart:.1e}"),
        ],
    )
    if options.write:
        write("ranks", [table])
    return 0


def _first_step(taken: Taken) -> float:
    return float(taken.facts["first_step"])


def _train(task: Work, ranks: int) -> Taken:
    folder: Path = task.project / "outputs" / f"ranks-{ranks}"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.time()
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    chosen = (
        *COMMON,
        *ALL_TO_TRAIN,
        "train.method=lora",
        "train.precision=fp32",
        f"train.processes={ranks}",
    )
    cost = run_stage(task.project, "train", "--run", folder.name, *sets(*chosen))
    taken, losses = take_losses(folder)
    (steps,) = (folder / "attempts").glob("*/steps.jsonl")
    first = float(steps.read_text().split('"time": ')[1].split(",")[0].rstrip("}\n"))
    facts = {"losses": losses, "first_step": first - began}
    return Taken(taken, cost.peak_mb, cost.cpu, facts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
