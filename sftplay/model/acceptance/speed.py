"""Step `speed`: sftplay, plain TRL and Unsloth's own script on the same rows, in turns (A B A B)."""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.acceptance import SPEED
from sftplay.freshness import STAMP
from sftplay.model.acceptance.context import Context, NotAsExpected
from sftplay.runs import Run
from sftplay.untrusted import read_json

BATCH, LENGTH = 4, 512
# 16-bit products, dense, by NVIDIA's data sheets: the GPU's name holds the key
_PEAK_TFLOPS = {
    "H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125, "T4": 65, "4090": 165, "3090": 71,
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One training.

    Attributes:
        seconds: from the end of the first step to the end of the last; start: from Enter to the end
            of the first.
    """

    seconds: float
    start: float
    peak_mb: float


def run(context: Context) -> None:
    """Take turns; each contestant's row has the medians."""
    steps = context.amounts.steps
    tokens = _prepare(context, steps)
    plan = {
        "model": "model", "rows": "speed.jsonl", "batch": BATCH, "steps": steps, "max_length": LENGTH,
        "precision": "bf16",
    }  # fmt: skip
    contestants: dict[str, Callable[[], Turn]] = {
        "sftplay bnb": lambda: _ours(context, "bnb", steps),
        "TRL, its defaults": lambda: _theirs(context, "trl_script", {**plan, "same": False}),
        "TRL, sftplay's settings": lambda: _theirs(context, "trl_script", {**plan, "same": True}),
    }
    if context.device == "cuda" and importlib.util.find_spec("unsloth"):
        contestants |= {
            "sftplay unsloth": lambda: _ours(context, "unsloth", steps),
            "Unsloth's script": lambda: _theirs(context, "unsloth_script", plan),
        }
    taken: dict[str, list[Turn]] = {name: [] for name in contestants}
    broken: dict[str, str] = {}
    for _ in range(context.amounts.turns):
        for name, turn in contestants.items():
            if name not in broken:
                try:
                    taken[name].append(turn())
                except (NotAsExpected, OSError, KeyError, IndexError) as error:
                    broken[name] = f"{type(error).__name__}: {error}"
    for name, turns in taken.items():
        with context.row(name) as values:
            if name in broken:
                raise NotAsExpected(broken[name])
            values.update(_medians(turns, tokens * (steps - 1) / steps))
            if others := taken.get("TRL, its defaults"):
                values["times_trl"] = _median(others) / _median(turns)
            values.update(_mfu(context, values[SPEED]))
    context_rows = {row.name: row.values for row in context.rows}
    if "Unsloth's script" in context_rows and not broken:
        with context.row("sftplay unsloth against Unsloth's script") as values:
            ours, theirs = (
                context_rows[name][SPEED] for name in ("sftplay unsloth", "Unsloth's script")
            )
            values["times"] = ours / theirs


def _prepare(context: Context, steps: int) -> int:
    """Write the rows for everyone; return their tokens as sftplay counts them."""
    settings = {
        "data.suffix": "speed", "data.val_share": 0, "data.raw": "raw/speed.jsonl", "model.max_length": LENGTH,
    }  # fmt: skip
    from sftplay.model.acceptance.inputs import write_rows

    words = min(context.amounts.words, int(0.5 * LENGTH))
    write_rows(Path("raw/speed.jsonl"), steps * BATCH, words)
    for stage in ("process", "render", "tokenize"):
        context.stage(stage, settings=settings).checked()
    with open("data/processed_speed/train.jsonl", encoding="utf-8") as lines:
        messages = [json.loads(line)["messages"] for line in lines]
    pairs = ({"prompt": each[:-1], "completion": each[-1:]} for each in messages)
    Path("speed.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    facts = read_json(Path("data/tokenized_speed") / STAMP)["facts"]
    return int(facts["tokens"]["train"] if isinstance(facts["tokens"], dict) else facts["tokens"])


def _ours(context: Context, backend: str, steps: int) -> Turn:
    run_ = Run(f"speed-{backend}-{int(time.time() * 1000)}")
    began = time.time()
    record = context.train(
        run_.name,
        backend=backend,
        backend_fallback__enabled=False,
        data__suffix="speed",
        data__val_share=0,
        data__raw="raw/speed.jsonl",
        model__max_length=LENGTH,
        train__batch_size=BATCH,
        train__max_steps=steps,
        train__method="qlora",
        train__logging_steps=1,
        train__lr_scheduler="constant",
    )
    lines = run_.attempts()[-1].steps.read_text(encoding="utf-8").splitlines()
    points = [point for point in map(json.loads, lines) if "loss" in point]
    ends = [float(point["time"]) for point in points]
    return Turn(ends[-1] - ends[0], ends[0] - began, (record["peak_memory_bytes"] or 0) / 1e6)


def _theirs(context: Context, script: str, plan: dict[str, Any]) -> Turn:
    Path("speed-plan.json").write_text(json.dumps(plan), encoding="utf-8")
    began = time.time()
    context.script(script, "speed-plan.json", "speed-result.json").checked()
    found = read_json(Path("speed-result.json"))
    ends = found["ends"]
    return Turn(ends[-1] - ends[0], ends[0] - began, found["peak"] / 1e6)


def _median(turns: list[Turn]) -> float:
    return statistics.median(turn.seconds for turn in turns)


def _medians(turns: list[Turn], tokens: float) -> dict[str, Any]:
    peak = statistics.median(turn.peak_mb for turn in turns)
    return {
        SPEED: tokens / _median(turns),
        "seconds_to_first_step": statistics.median(turn.start for turn in turns),
        **({"peak_mb": peak} if peak else {}),  # on a CPU the scripts do not tell
        "turns": len(turns),
    }


def _mfu(context: Context, speed: float) -> dict[str, float]:
    """Share of the GPU's peak that the training's own operations take: 4 a weight and token, since
    frozen weights get no gradient, and nothing for what checkpointing computes again.
    """
    if context.device != "cuda":
        return {}
    import torch

    name = torch.cuda.get_device_name()
    peak = next((value for key, value in _PEAK_TFLOPS.items() if key in name), None)
    weights = read_json(Path("model.json"))["weights"]
    return {"mfu": 4 * weights * speed / (peak * 1e12)} if peak else {}
