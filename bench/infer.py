"""Batch inference compared with one padded batch after another, and a chat's first token compared with a bare
generate(): `inv bench infer`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench._measure import read_rows
from bench._project import run_stage, script, sets
from bench._versus import Taken, ratios, seconds, show, take_turns, write
from bench.eval import options_of, trained, write_held_out


def main(argv: list[str]) -> int:
    options = options_of(argv, "inv bench infer", 100)
    with trained(options.rows, options.samples) as (project, model):
        rows, prompts = project / "eval_rows.jsonl", project / "prompts.jsonl"
        write_held_out(project, rows, options.samples)
        questions = read_rows(project / "data/processed/val.jsonl")
        prompts.write_text(
            "".join(
                json.dumps({"prompt": row["messages"][0]["content"]}) + "\n"
                for row in questions[: options.samples]
            )
        )
        limit = str(options.max_new_tokens)

        def ours() -> Taken:
            out = project / "answers.jsonl"
            out.unlink(missing_ok=True)
            cost = run_stage(
                project,
                "infer",
                "--run",
                "bench",
                "--input",
                str(prompts),
                "--output",
                str(out),
                *sets(f"infer.max_new_tokens={limit}"),
            )
            return Taken(cost.seconds, cost.peak_mb, cost.cpu)

        def theirs(*way: str) -> Taken:
            words = [
                str(rows),
                str(model),
                str(project / "outputs/bench/adapter"),
                str(project / "plain.json"),
            ]
            return script(project, "plain_infer", *words, "--max-new-tokens", limit, *way)

        contestants = {
            "sftplay": ours,
            "padded batches": theirs,
            "continuous batching": lambda: theirs("--continuous"),
        }
        turns = take_turns(contestants, options.rounds)
        first = _first_token(model)
        tables = [
            show("infer-batch, whole process", ("what", "ratio"), [
                (f"{options.samples} prompts against one padded batch after another", ratios(turns, "sftplay", "padded batches", seconds)),
                ("against transformers' continuous batching", ratios(turns, "sftplay", "continuous batching", seconds)),
            ]),
            show("A chat's first token, model loaded", ("what", "milliseconds"), first),
        ]  # fmt: skip
    if options.write:
        write("infer", tables)
    return 0


def _first_token(folder: Path, turns: int = 7) -> list[tuple[str, str]]:
    """generate(max_new_tokens=1) and the chat's stream in turns, on a prompt of 60 tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    from sftplay.model.answers.sampling import Sampling
    from sftplay.model.answers.stream import Stream

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = list(range(100, 160))
    times: dict[str, list[float]] = {"bare generate()": [], "sftplay": []}
    for _ in range(turns):
        began = time.perf_counter()
        ids: Any = torch.tensor([prompt])
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False
        )
        times["bare generate()"].append(time.perf_counter() - began)
        began = time.perf_counter()
        next(Stream(model, [2], 2).tokens(prompt, Sampling(8)))
        times["sftplay"].append(time.perf_counter() - began)
    return [
        (
            who,
            f"{statistics.median(each[1:]) * 1000:.0f} ({min(each[1:]) * 1000:.0f} to {max(each[1:]) * 1000:.0f})",
        )
        for who, each in times.items()
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
