"""From the raw file to a merged model, sftplay's stages compared with scripts with TRL: `inv bench
end-to-end [--args='--steps 50 --rounds 1']`.

Both train the same rows once, four a step, LoRA in fp32, and merge. Wall time of everything, each
process's start included.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench._measure import project_with
from bench._project import ALL_TO_TRAIN, BATCH, COMMON, choose_rows, run_stage, script, sets
from bench._versus import Taken, peak, ratios, seconds, show, take_turns, write


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="inv bench end-to-end")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)
    turns = take_turns(
        {
            "sftplay": lambda: _sftplay(options.rows, options.steps),
            "TRL scripts": lambda: _trl(options.rows, options.steps),
        },
        options.rounds,
    )
    table = show(
        f"Raw rows to merged model, {options.steps} steps of {BATCH} rows",
        ("what", "ratio", "at least"),
        [
            ("wall time against TRL scripts, fp32, TRL's defaults otherwise", ratios(turns, "sftplay", "TRL scripts", seconds), "1.5 ×"),
            ("peak memory of the largest process", ratios(turns, "sftplay", "TRL scripts", peak), ""),
        ],
    )  # fmt: skip
    if options.write:
        write("end-to-end", [table])
    return 0


def _sftplay(rows_file: str | None, steps: int) -> Taken:
    """train brings process, render and tokenize up to date itself."""
    with project_with([], 4) as project:
        choose_rows(rows_file, project / "data" / "raw" / "rows.jsonl", steps * BATCH)
        began = time.perf_counter()
        costs = [
            run_stage(project, "train", "--run", "bench", *sets(*COMMON, *ALL_TO_TRAIN, "train.method=lora", "train.precision=fp32")),
            run_stage(project, "merge", "--run", "bench", *sets("merge.dtype=fp32")),
        ]  # fmt: skip
        return Taken(
            time.perf_counter() - began,
            max(cost.peak_mb for cost in costs),
            sum(cost.cpu for cost in costs),
        )


def _trl(rows_file: str | None, steps: int) -> Taken:
    """Three scripts: rows, training, merge."""
    from sftplay.config import load_config
    from sftplay.places import find_model

    with project_with([], 4) as project:
        raw, rows, output = (
            project / "data" / "raw" / "rows.jsonl",
            project / "rows.jsonl",
            project / "trl.json",
        )
        choose_rows(rows_file, raw, steps * BATCH)
        model = str(find_model(load_config(project / "configs" / "run_bnb.yaml", [])))
        began = time.perf_counter()
        takens = [
            script(project, "trl_rows", str(raw), str(rows)),
            script(project, "trl_sft", str(rows), model, str(output), "--save"),
            script(project, "trl_merge", model, f"{output}.run", str(Path(project) / "merged")),
        ]
        return Taken(
            time.perf_counter() - began, max(map(peak, takens)), sum(taken.cpu for taken in takens)
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
