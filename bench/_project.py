"""The project that contestants share: exactly as many rows as the steps take, so that all of them
train the same ones once.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench._measure import Cost, measure, project_with, read_rows, stage
from bench._versus import Taken

BATCH = 4
COMMON = (
    "train.batch_size=4",
    "model.max_length=512",
    "train.epochs=1",
    "train.logging_steps=1",
    "train.save_steps=100000",
)
ALL_TO_TRAIN = ("data.val_share=0", "data.test_share=0")
AS_THE_RUNNER = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONWARNINGS": "ignore",
}  # what sftplay's runners set


@dataclass(frozen=True)
class Work:
    """Amount of work.

    Attributes:
        project: folder with data/tokenized; model: folder of the base model.
        rows: the raw rows in the order of data/tokenized, prompt/completion.
        in_order: the same rows as sftplay trains them, tokens and labels, in the order of its
            steps.
        tokens: all tokens of the rows, prompts included, padding not.
    """

    project: Path
    model: Path
    rows: Path
    in_order: Path
    tokens: int
    trained_tokens: int
    steps: int


def sets(*settings: str) -> list[str]:
    """Words for `--set`."""
    return [word for setting in settings for word in ("--set", setting)]


def run_stage(project: Path, *words: str) -> Cost:
    """A stage of sftplay, as a runner starts it.

    Raises:
        RuntimeError: it failed.
    """
    return measure(stage(*words), project, **AS_THE_RUNNER).checked()


@contextmanager
def work(rows_file: str | None, steps: int) -> Iterator[Work]:
    """A temporary project with steps × 4 rows of 512 tokens at most, tokenized."""
    from datasets import Dataset

    from sftplay.config import load_config
    from sftplay.model.training.order import epoch_order
    from sftplay.places import find_model

    with project_with([], 4) as project:
        choose_rows(rows_file, project / "data" / "raw" / "rows.jsonl", steps * BATCH)
        for name in ("process", "render", "tokenize"):
            run_stage(project, name, *sets(*COMMON, *ALL_TO_TRAIN))
        settings = load_config(project / "configs" / "run_bnb.yaml", [])
        tokenized = Dataset.from_file(str(project / "data" / "tokenized" / "train.arrow"))
        lengths = [len(ids) for ids in tokenized["input_ids"]]
        made = [
            json.dumps({name: row[name] for name in ("input_ids", "labels")}) + "\n"
            for row in tokenized
        ]
        processed = read_rows(project / "data" / "processed" / "train.jsonl")
        plain = [json.dumps(_pair(row["messages"])) + "\n" for row in processed]
        order = epoch_order(lengths, settings.train.seed, 0, BATCH)
        rows, in_order = project / "rows.jsonl", project / "in_order.jsonl"
        rows.write_text("".join(plain), encoding="utf-8")
        in_order.write_text("".join(made[row] for row in order), encoding="utf-8")
        trained = sum(label != -100 for labels in tokenized["labels"] for label in labels)
        yield Work(
            project,
            find_model(settings),
            rows,
            in_order,
            sum(lengths),
            trained,
            len(lengths) // BATCH,
        )


def _pair(messages: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def choose_rows(rows_file: str | None, target: Path, count: int) -> None:
    """So many rows by chance, the same ones every time; of a file, or made up."""
    from bench._measure import write_rows

    if rows_file is None:
        write_rows(target, count)
        return
    if not Path(rows_file).is_file():
        raise SystemExit(
            f"--rows {rows_file}: no such file (jsonl with question and answer, as GSM8K's)"
        )
    lines = [
        line
        for line in Path(rows_file).read_text(encoding="utf-8").split("\n")
        if 0 < len(line) < 1200
    ]
    target.write_text("\n".join(random.Random(0).sample(lines, count)) + "\n", encoding="utf-8")


def sftplay_training(work: Work, run: str, *settings: str) -> Taken:
    """One training; its seconds go from `started` in the run's history to the end of the last step."""
    folder = work.project / "outputs" / run
    shutil.rmtree(folder, ignore_errors=True)
    cost = run_stage(work.project, "train", "--run", run, *sets(*COMMON, *ALL_TO_TRAIN, *settings))
    seconds, losses = take_losses(folder)
    return Taken(seconds, cost.peak_mb, cost.cpu, {"losses": losses})


def take_losses(folder: Path) -> tuple[float, list[float]]:
    """Seconds from `started` in a run's history to the end of its last step, and the loss of each
    step.
    """
    events = read_rows(folder / "events.jsonl")
    began = next(
        datetime.fromisoformat(event["time"]).timestamp()
        for event in events
        if event["event"] == "started"
    )
    (steps,) = (folder / "attempts").glob("*/steps.jsonl")
    points = {point["step"]: point for point in read_rows(steps) if "loss" in point}
    return points[max(points)]["time"] - began, [points[step]["loss"] for step in sorted(points)]


def script(folder: Path, name: str, *words: str, output: Path | None = None) -> Taken:
    """A baseline of bench/baselines, in this environment; seconds and losses as it reports them,
    else the whole process.
    """
    path = Path(__file__).parent / "baselines" / f"{name}.py"
    cost = measure(
        [sys.executable, str(path), *words],
        folder,
        PYTHONPATH="",
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_VERBOSITY="error",
    ).checked()
    facts = json.loads(output.read_text(encoding="utf-8")) if output else {}
    return Taken(facts.get("seconds", cost.seconds), cost.peak_mb, cost.cpu, facts)
