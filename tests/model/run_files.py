"""What a run leaves, as tests read it: its weights, its events and its evaluations."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def weights_hash(project: Path, run: str = "demo") -> str:
    """Return the hash of the one file of weights that a run has published."""
    (path,) = [
        p
        for name in ("adapter", "model")
        for p in (project / "outputs" / run / name).glob("*.safetensors")
    ]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_events(project: Path, run: str = "demo") -> list[dict[str, Any]]:
    """Return the events of a run, the oldest first."""
    return _read_lines(project / "outputs" / run / "events.jsonl")


def read_metrics(project: Path, split: str = "val", run: str = "demo") -> Any:
    """Return metrics.json of the evaluation of a split."""
    return json.loads((project / "outputs" / run / "eval" / split / "metrics.json").read_text())


def read_samples(project: Path, split: str = "val") -> list[dict[str, Any]]:
    """Return the answered rows of the evaluation of a split."""
    return _read_lines(project / "outputs/demo/eval" / split / "samples.jsonl")


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
