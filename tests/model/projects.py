"""Project folders with raw rows and demo.yaml, and one whose training `plain_training` follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.box import Box

STEPS, RATE = 3, 2e-3
# A constant rate and no clipping, which the oracle does not compute.
_PLAIN_TRAIN = {
    "max_steps": STEPS,
    "learning_rate": RATE,
    "lr_scheduler": "constant",
    "warmup_steps": 0,
    "max_grad_norm": 1e6,
    "save_steps": 1,
    "save_total_limit": 9,
    "logging_steps": 1,
    "optimizer": "adamw_torch",
}


def write_project(folder: Path, rows: list[dict[str, str]], config: Mapping[str, Any]) -> None:
    """Write raw rows and demo.yaml."""
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "data" / "raw" / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    (folder / "demo.yaml").write_text(yaml.safe_dump(config))


def run_stages(box: Box, folder: Path, *stages: str) -> None:
    """Run stages by the project's demo.yaml; each has to succeed."""
    for stage in stages:
        ran = box.run(stage, "--config", "demo.yaml", cwd=folder)
        assert ran.code == 0, ran.err


def make_plain_project(
    box: Box,
    folder: Path,
    model: Path,
    count: int,
    train: Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> Path:
    """Make a project with `count` rows, tokenized, whose training `plain_training` follows.

    Args:
        train: more settings than a constant rate without clipping needs.
        sections: the other sections of demo.yaml.
    """
    rows = [
        {"user": f"How many clips are {i} and {i * 7}?" + " Please." * (i % 4), "assistant": f"She sold {i * 8} clips" + " in May" * (i % 5) + "."}
        for i in range(count)
    ]  # fmt: skip
    config = {
        "model": {"name": str(model), "max_length": 128},
        "data": {"val_share": 0.2, "test_share": 0.1},
        "train": {**_PLAIN_TRAIN, **(train or {})},
        "lora": {"r": 4, "alpha": 8},
        **sections,
    }
    write_project(folder, rows, config)
    run_stages(box, folder, "process", "render", "tokenize")
    return folder
