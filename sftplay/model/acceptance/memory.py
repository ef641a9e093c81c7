"""Step `memory`: rows that do not fit are halved, `batch_size: auto`, and the peak that `inv check`
forecasts.
"""

from __future__ import annotations

from pathlib import Path

from sftplay.acceptance import FORECAST, SPEED
from sftplay.model.acceptance.context import Context, NotAsExpected, Unusable
from sftplay.untrusted import read_json

ROOM = 1.5  # times the peak of a batch of four: not enough for 64 rows
_ROWS = 64


def run(context: Context) -> None:
    """Three trainings of one or a few steps."""
    with context.row("rows that do not fit are halved") as values:
        if context.device == "cpu":
            raise Unusable("rows are rehearsed on a GPU only")
        peak = read_json(Path("outputs/bnb-whole/run.json"))["peak_memory_bytes"]
        limit = int(ROOM * peak)
        ended = context.program(
            *("-m", "sftplay.model.acceptance.small_memory", str(limit)),
            *("train", "--config", "accept.yaml", "--run", "halved"),
            *("--set", f"train.batch_size={_ROWS}", "--set", "train.max_steps=1"),
            *("--set", "train.method=qlora", "--set", "train.gradient_checkpointing=false"),
        )
        ended.checked()
        effective = read_json(Path("outputs/halved/run.json"))["effective"]
        values.update({"limit_mb": limit / 1e6, "said": effective["batch"]})
        if (
            effective["effective_batch"] != _ROWS
            or "ran out of GPU memory" not in effective["batch"]
        ):
            raise NotAsExpected(f"effective batch {effective['effective_batch']}")
    with context.row("batch_size: auto") as values:
        record = context.train(
            "auto", train__batch_size="auto", train__max_steps=2, train__method="qlora"
        )
        effective = record["effective"]
        values.update({"said": effective["batch"], SPEED: record["tokens_per_second"]})
        if effective["effective_batch"] != 16:
            raise NotAsExpected(f"effective batch {effective['effective_batch']}, not 16")
    with context.row(FORECAST) as values:  # the host knows the forecast, and adds it
        record = context.train(
            "forecast", train__batch_size=4, train__max_steps=4, train__method="qlora"
        )
        values["peak_mb"] = record["peak_memory_bytes"] / 1e6
