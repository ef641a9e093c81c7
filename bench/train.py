"""Twenty QLoRA steps of the default model: `inv bench train [--args='FILE.jsonl']`."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from bench._measure import ROOT, measure, stage, table, write_rows

SETTINGS = (
    "train.max_steps=20",
    "train.batch_size=4",
    "train.logging_steps=1",
    "model.max_length=512",
    "data.on_too_long=drop",
    "train.eval_samples=40",
)


def main(argv: list[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        (project / "data" / "raw").mkdir(parents=True)
        shutil.copytree(ROOT / "configs", project / "configs")
        if argv:
            shutil.copy(argv[0], project / "data" / "raw")
        else:
            write_rows(project / "data" / "raw" / "rows.jsonl", 2_000)
        measure(stage("fetch"), project)
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
