"""Twenty QLoRA steps of the default model: `inv bench train [--args='FILE.jsonl']`."""

from __future__ import annotations

import json
import sys

from bench._measure import measure, project_with, stage, table

SETTINGS = (
    "train.max_steps=20",
    "train.batch_size=4",
    "train.logging_steps=1",
    "model.max_length=512",
    "data.on_too_long=drop",
    "train.eval_samples=40",
)


def main(argv: list[str]) -> int:
    with project_with(argv, 2_000) as project:
        for each in ("process", "render", "tokenize"):
            measure(stage(each, *_set()), project)
        cost = measure(stage("train", *_set(), "--run", "bench"), project)
        if cost.code:
            print(cost.said)
            return cost.code
        record = json.loads((project / "outputs/bench/run.json").read_text())
        table(
            "20 QLoRA steps, batch 4",
            [
                ("whole command", f"{cost.seconds:.0f} s", ""),
                ("training loop with its val loss", f"{record['train_seconds']:.0f} s", "goal: 150 s"),
                ("tokens/s", f"{record['tokens_per_second']:.0f}", ""),
                ("loss", f"{record['first_loss']:.3f} → {record['last_loss']:.3f}", "clearly falling"),
                ("peak memory", f"{cost.peak_mb / 1000:.1f} GB", ""),
            ],
        )
        return 0


def _set() -> list[str]:
    return [word for setting in SETTINGS for word in ("--set", setting)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
