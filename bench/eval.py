"""`inv eval-quick` compared with a plain script that takes one padded batch after another: `inv bench eval
[--args='--samples 64 --rounds 2']`.

Whole processes are compared, imports and model loading included: base model and tuned one, loss and
answers on the same rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench._measure import project_with
from bench._project import COMMON, choose_rows, run_stage, script, sets
from bench._versus import Taken, peak, ratios, seconds, show, take_turns, write

TRAIN = (
    "train.method=lora",
    "train.precision=fp32",
    "train.max_steps=4",
    "train.learning_rate=1e-3",
    "data.val_share=0.8",
    "data.test_share=0",
)


def options_of(argv: list[str], prog: str, samples: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("--samples", type=int, default=samples)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--rows", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    options = options_of(argv, "inv bench eval", 200)
    with trained(options.rows, options.samples) as (project, model):
        rows = project / "eval_rows.jsonl"
        count = write_held_out(project, rows, options.samples)
        output = project / "padded.json"
        length = f"eval.max_new_tokens={options.max_new_tokens}"

        def ours() -> Taken:
            cost = run_stage(
                project, "eval", "--run", "bench", "--samples", str(count), *sets(length)
            )
            metrics = json.loads((project / "outputs/bench/eval/val/metrics.json").read_text())
            return Taken(cost.seconds, cost.peak_mb, cost.cpu, metrics)

        def theirs() -> Taken:
            words = [str(rows), str(model), str(project / "outputs/bench/adapter"), str(output)]
            return script(
                project,
                "padded_eval",
                *words,
                "--max-new-tokens",
                str(options.max_new_tokens),
                output=output,
            )

        turns = take_turns({"sftplay": ours, "padded batches": theirs}, options.rounds)
        table = show(
            f"Evaluation of {count} rows, base and tuned, answers of up to {options.max_new_tokens} tokens",
            ("what", "ratio", "at least"),
            [
                ("wall time against one padded batch after another", ratios(turns, "sftplay", "padded batches", seconds), "2.0 ×"),
                ("CPU time", ratios(turns, "sftplay", "padded batches", lambda taken: taken.cpu), ""),
                ("peak memory", ratios(turns, "sftplay", "padded batches", peak), ""),
            ],
            [_losses(turns)] if len(turns) == 2 else [],
        )  # fmt: skip
    if options.write:
        write("eval", [table])
    return 0


@contextmanager
def trained(rows_file: str | None, samples: int) -> Iterator[tuple[Path, Path]]:
    """A project with a run `bench` of four steps, and enough rows to evaluate on; and the base
    model's folder.
    """
    from sftplay.config import load_config
    from sftplay.places import find_model

    with project_with([], 4) as project:
        choose_rows(rows_file, project / "data" / "raw" / "rows.jsonl", int(samples * 1.4) + 40)
        run_stage(project, "train", "--run", "bench", *sets(*COMMON, *TRAIN))
        yield project, find_model(load_config(project / "configs" / "run_bnb.yaml", []))


def write_held_out(project: Path, target: Path, samples: int) -> int:
    """The rows that eval takes, in the order in which they stand in the file; return their count."""
    import os

    from sftplay.config import load_config
    from sftplay.data.tokenizing.artifact import read_split
    from sftplay.model.evaluation.held_out import read_rows

    before = Path.cwd()
    os.chdir(project)
    try:
        rows, _ = read_rows(load_config(Path("configs/run_bnb.yaml"), []), "val", samples)
        place = {
            row: number
            for number, row in enumerate(
                read_split(Path("data/tokenized/val.arrow")).column("id").to_pylist()
            )
        }
    finally:
        os.chdir(before)
    rows = sorted(rows, key=lambda row: place[row.row_id])
    lines = [
        json.dumps({"input_ids": row.ids, "labels": row.labels, "prompt": row.prompt})
        for row in rows
    ]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)


def _losses(turns: dict[str, list[Taken]]) -> str:
    ours, theirs = turns["sftplay"][0].facts, turns["padded batches"][0].facts
    said = json.dumps(ours["metrics"].get("loss", ours["metrics"]), ensure_ascii=False)[:200]
    return f"loss: {said}; the plain script: base {theirs['base']['loss']:.4f}, tuned {theirs['tuned']['loss']:.4f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
