"""Run folders written by hand, as training leaves them: for tests of what reads them."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

from sftplay.files import write_json
from sftplay.manifest import seal
from sftplay.runs import Run
from sftplay.stamp import Fallback, Stamp, write_stamp

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
CONFIG = """# python3 tasks.py train --config outputs/{name}/config.yaml --resume
run:
  name: {name}
model:
  name: smollm2-135m-instruct
train:
  learning_rate: {rate}
  max_steps: {steps}
"""


def stamp(**changes: Any) -> Stamp:
    values: dict[str, Any] = {
        "backend": "bnb", "requested_backend": "bnb", "precision": "fp32", "precision_reason": "no bfloat16",
        "tuning_method": "lora", "quantization": None, "attention": "sdpa", "device": "cpu",
        "base_model": "smollm2-135m-instruct", "revision": "0.1.2", "weights_hash": "sha256:1", "stack": "cpu",
        "image_digest": None, "environment_hash": "sha256:e", "lock_hash": "sha256:l", "template_hash": "sha256:t",
        "data_hash": "sha256:d", "lora": {"r": 16, "alpha": 32.0}, "init_adapter": None,
        "optimization": {"learning_rate": 0.001, "seed": 42}, "world_size": 1, "versions": {"torch": "2.13.0"},
        "created": BEGAN.isoformat(),
    }  # fmt: skip
    return Stamp(**{**values, **changes})


def write_run(
    name: str,
    *,
    steps: int = 20,
    finished: bool = True,
    rate: float = 0.001,
    handed_over: bool = False,
    **changes: Any,
) -> Run:
    """A run below the working directory; `changes` go into its stamp."""
    run = Run(name)
    fallback = (
        Fallback(from_attempt="01-unsloth", reason="no_gpu", message="no NVIDIA device")
        if handed_over
        else None
    )
    attempt = run.attempt(2 if handed_over else 1, "bnb")
    attempt.checkpoints.mkdir(parents=True)
    run.config.write_text(CONFIG.format(name=name, rate=rate, steps=steps))
    asked = "unsloth" if handed_over else "bnb"
    written = stamp(
        fallback=fallback, requested_backend=asked, optimization={"learning_rate": rate}, **changes
    )
    write_stamp(attempt.stamp, written)
    write_stamp(run.stamp, written)
    done = steps if finished else steps // 2
    attempt.steps.write_text("".join(_point(step, done) for step in range(1, done + 1)))
    attempt.log.write_text(
        "".join(
            f"2026-03-01T12:00:{step % 60:02} step {step}/{steps} loss=1\n" for step in range(done)
        )
    )
    write_json(
        attempt.progress,
        {
            "step": done,
            "steps": steps,
            "tok/s": 80.0,
            "loss": 1.5,
            "time": BEGAN.timestamp() + 60,
            "seconds_per_step": 2.0,
        },
    )
    write_json(run.record, _record(steps, finished))
    events = [{"time": BEGAN.isoformat(), "event": "started", "attempt": attempt.name}]
    if finished:
        end = BEGAN + timedelta(seconds=90)
        events.append(
            {"time": end.isoformat(), "event": "finished", "attempt": attempt.name, "step": steps}
        )
        run.adapter.mkdir()
        (run.adapter / "adapter_model.safetensors").write_bytes(b"weights of " + name.encode())
        seal(run.adapter, {"run": name})
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    return run


def write_eval(
    run: Run,
    split: str = "val",
    rows: int = 12,
    *,
    intervals: dict[str, tuple[float, float]] | None = None,
    first: int = 0,
    **changes: tuple[float, float],
) -> None:
    """An evaluation with metrics and answers.

    Args:
        intervals: of the difference, by metric; without, it is an older version's evaluation.
        first: number of the first row.
        changes: base and tuned value of a metric.
    """
    values = {
        "loss": (2.0, 1.25),
        "perplexity": (7.4, 3.5),
        "rouge_l": (12.5, 40.0),
        "ended": (10.0, 90.0),
        **changes,
    }
    metrics: dict[str, dict[str, Any]] = {
        key: {"base": a, "tuned": b, "difference": b - a} for key, (a, b) in values.items()
    }
    for key, ends in (intervals or {}).items():
        metrics[key]["difference_interval"] = list(ends)
    write_json(
        run.eval(split) / "metrics.json",
        {"run": run.name, "split": split, "metrics": metrics, "rows": {split: rows}},
    )
    samples = [
        {
            "id": f"{row:016x}",
            "prompt": f"<|im_start|>user\nquestion {row} <script>alert({row})</script>",
            "reference": f"wanted {row}",
            "base": "I don't know. " * (row + 1),
            "tuned": f"answer {row}",
            "scores": {"base": {"rouge_l": 1.0}, "tuned": {"rouge_l": 9.0}},
        }
        for row in range(first, first + rows)
    ]
    (run.eval(split) / "samples.jsonl").write_text(
        "".join(json.dumps(sample) + "\n" for sample in samples)
    )


def write_data(run: Run) -> None:
    """data.json as train writes it."""
    report = {
        "rows": {"in": 110, "out": 100, "rejected": 4, "duplicates": 6},
        "splits": {"train": 90, "val": 5, "test": 5},
        "rejected": {"no answer": 3, "not valid JSON": 1},
        "characters": {
            "input": {"min": 3, "p50": 40, "p90": 90, "p99": 99, "max": 120},
            "answer": {"max": 9},
        },
        "files": [
            {
                "file": "data/raw/a.jsonl",
                "rows": 110,
                "format": "alpaca",
                "evidence": "by its keys",
                "rejected": 4,
            }
        ],
        "reasoning": {"rows": 2, "setting": "keep"},
        "skipped_files": [],
    }
    tokenize = {
        "facts": {
            "max_length": 512,
            "too_long": 3,
            "truncated": 2,
            "dropped": 1,
            "rows": {"train": 90},
        }
    }
    lengths = [[20 + 3 * n, 1 + n % 7] for n in range(40)]
    write_json(
        run.data_record,
        {"raw": "data/raw", "report": report, "stages": {"tokenize": tokenize, "style": {"section": {"style.prompt": "Be brief.", "style.mode": "prepend"}}}, "lengths": lengths},
    )  # fmt: skip


def _point(step: int, steps: int) -> str:
    loss = 2 * math.exp(-3 * step / steps) + 0.4 + 0.05 * math.sin(7 * step)
    point = {
        "step": step,
        "loss": loss,
        "learning_rate": 0.001 * (1 - step / steps),
        "grad_norm": 1.0,
    }
    point |= {
        "tokens_per_second": 80 + math.sin(step),
        "memory_bytes": 1_000_000_000 + step,
        "time": BEGAN.timestamp() + step,
    }
    return (
        json.dumps(point)
        + "\n"
        + (json.dumps({"step": step, "eval_loss": loss + 0.1}) + "\n" if step % 5 == 0 else "")
    )


def _record(steps: int, finished: bool) -> dict[str, Any]:
    opening = {
        "state": "running",
        "method": "lora",
        "effective": {"device": "cpu", "steps": steps},
    }
    closing = {
        "state": "finished", "steps": steps, "first_loss": 2.3, "last_loss": 0.51, "val_loss": 0.61, "tokens": 12345,
        "tokens_per_second": 81.5, "train_seconds": 80.0, "seconds": 88.0, "peak_memory_bytes": 1_500_000_000,
        "stopped_early": False,
    }  # fmt: skip
    return {**opening, **closing} if finished else opening
