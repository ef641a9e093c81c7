"""Trainings as a tracker shows them: curves, sample answers and config, from the records of the runs.

Standard library, PyYAML and the kernel only: trackio's page reads it in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from sftplay.attempts import Attempt
from sftplay.errors import SftplayError
from sftplay.host.runs import curves
from sftplay.places import OUTPUTS
from sftplay.runs import Run
from sftplay.untrusted import parse_json, read_json, read_lines
from sftplay.yamlfile import read_yaml

TRACKER = "trackio"
STORE = OUTPUTS / ".trackio"
STORE_LOCK = STORE / ".mirror.lock"  # held by the page that keeps the store
ANSWERS = "eval/answers"
# Names in steps.jsonl → those that transformers gives them in TensorBoard.
_METRICS = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "mean_token_accuracy": "train/mean_token_accuracy",
    "epoch": "train/epoch",
    "tokens_per_second": "train/tokens_per_second",
    "memory_bytes": "train/memory_bytes",
    "eval_loss": "eval/loss",
}
_STAMP = (
    *("backend", "requested_backend", "tuning_method", "quantization", "precision"),
    *("attention", "device", "stack", "world_size"),
)
_LARGEST = 2**53  # of a number that every reader of JSON takes exactly
_WITH_PATHS = ("model", "data")  # sections of a config that may name a place on this machine


@dataclass(frozen=True)
class TrackedRow:
    """Everything logged at one step.

    Attributes:
        moment: seconds since 1970, never before that of an earlier step.
        metrics: by name; sample answers as a list of rows under `eval/answers`.
    """

    step: int
    moment: float
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class TrackedTraining:
    """One attempt of a run.

    Attributes:
        key: run and attempt, the same for as long as both exist.
        name: the run's name; with the attempt's for one that is not the newest.
    """

    key: str
    name: str
    rows: tuple[TrackedRow, ...]
    config: Mapping[str, Any]


def candidates(only: str | None = None) -> list[Run]:
    """Runs that could be shown: `only`, or every one whose training has got as far as its record."""
    if only:
        return [Run(only)] if Run(only).folder.is_dir() else []
    folders = (path.parent.name for path in OUTPUTS.glob("*/run.json"))
    return [Run(name) for name in sorted(folders) if not name.startswith(".")]


def is_tracked(run: Run) -> bool:
    """Return whether the run's last start named trackio among its trackers."""
    try:
        named = read_json(run.record).get("trackers")
    except SftplayError:
        return False
    return isinstance(named, list) and TRACKER in named


def state_of(run: Run) -> tuple[Any, ...]:
    """Return what changes whenever a record changes that `trainings` reads."""
    files = [run.record, run.config]
    for attempt in run.attempts():
        files += [attempt.stamp, attempt.steps, attempt.samples]
    return tuple(_state(path) for path in files)


def _state(path: Path) -> tuple[Any, ...]:
    try:
        found = path.stat()
    except OSError:
        return (str(path),)
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns


def trainings(run: Run) -> list[TrackedTraining]:
    """Return the attempts of a run that have logged something, oldest first."""
    found = [(attempt, rows) for attempt in run.attempts() if (rows := tuple(_rows(attempt)))]
    config = _config(run)
    return [
        TrackedTraining(
            f"{run.name}/{attempt.name}",
            run.name if number == len(found) else f"{run.name}/{attempt.name}",
            rows,
            {**config, "attempt": attempt.name, **_stamp(attempt)},
        )
        for number, (attempt, rows) in enumerate(found, 1)
    ]


def _rows(attempt: Attempt) -> Iterator[TrackedRow]:
    answers, moment = _answers(attempt), 0.0
    for step, point in curves.read_attempt(attempt).values.items():
        metrics: dict[str, Any] = {
            name: point[key] for key, name in _METRICS.items() if key in point
        }
        if not 0 <= step < _LARGEST:
            continue
        # answers come with a look at the val loss: those of an undone look are not shown
        if "eval_loss" in point and step in answers:
            metrics[ANSWERS] = answers[step]
        moment = max(moment, _moment(point.get("time", 0.0)))
        if metrics:
            yield TrackedRow(step, moment, metrics)


def _moment(time: float) -> float:
    """Return a time that a calendar holds; 0 for any other."""
    return time if 0 <= time < datetime.max.replace(tzinfo=timezone.utc).timestamp() else 0.0


def _answers(attempt: Attempt) -> dict[int, list[dict[str, str]]]:
    """Step → sample answers; the last line of a step counts."""
    found: dict[int, list[dict[str, str]]] = {}
    try:
        for line in read_lines(attempt.samples):
            look = _look(line)
            if look is not None:
                found[look[0]] = look[1]
    except SftplayError:  # none were asked for; or more than is read
        pass
    return found


def _look(line: bytes) -> tuple[int, list[dict[str, str]]] | None:
    try:
        value = parse_json(line)
        rows = [
            {
                "prompt": str(one["prompt"]),
                "wanted": str(one["reference"]),
                "answer": str(one["answer"]),
            }
            for one in value["samples"]
        ]
        return int(value["step"]), rows
    except (ValueError, KeyError, TypeError):  # a torn line
        return None


def _config(run: Run) -> dict[str, Any]:
    try:
        content, _ = read_yaml(run.config)
    except SftplayError:
        return {}
    return dict(
        _flat({key: _named(part) if key in _WITH_PATHS else part for key, part in content.items()})
    )


def _stamp(attempt: Attempt) -> dict[str, Any]:
    try:
        stamp = read_json(attempt.stamp)
    except SftplayError:
        return {}
    return {f"stamp.{key}": stamp[key] for key in _STAMP if key in stamp}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values as `section.key`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, str) or _is_plain_number(value):
            yield f"{prefix}{key}", value
        else:
            yield f"{prefix}{key}", json.dumps(value, ensure_ascii=False, default=str)


def _is_plain_number(value: Any) -> bool:
    """Return whether every reader of JSON takes it: finite, and nothing that one would round."""
    return isinstance(value, (int, float)) and abs(value) < _LARGEST


def _named(value: Any) -> Any:
    """Replace places on this machine by the name of the file or folder, also in lists and keys."""
    if isinstance(value, str):
        outside = value.startswith(("/", "~")) or ".." in PurePosixPath(value).parts
        return PurePosixPath(value).name if outside else value
    if isinstance(value, Mapping):
        return {_named(key): _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list) else value


def iso(moment: float) -> str:
    """Return a moment as trackio writes it."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat()
