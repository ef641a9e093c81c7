"""Attempts of a run, each in one backend, and their checkpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sftplay.manifest import problem_with

ATTEMPT = re.compile(r"^([0-9]{2,6})-([a-z]+)$")


_CHECKPOINT = re.compile(r"^checkpoint-([0-9]{1,15})$")


@dataclass(frozen=True)
class Attempt:
    """One try of one backend: `attempts/01-bnb/`. No backend ever sees another attempt's
    checkpoints.
    """

    folder: Path
    number: int
    backend: str

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def stamp(self) -> Path:
        return self.folder / "backend.json"

    @property
    def has_begun(self) -> bool:
        """True if it got as far as its stamp.

        Killed while it loads, or handed over at once, it leaves nothing to continue from.
        """
        return os.path.lexists(self.stamp)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def log(self) -> Path:
        return self.folder / "train.log"

    @property
    def progress(self) -> Path:
        """Step, loss, speed of a running attempt, replaced about once a second."""
        return self.folder / "progress.json"

    @property
    def steps(self) -> Path:
        """The logged points, one JSON line each: loss, learning rate, speed, memory."""
        return self.folder / "steps.jsonl"

    @property
    def samples(self) -> Path:
        """Sample answers in training, one JSON line for each look at the val loss."""
        return self.folder / "samples.jsonl"

    @property
    def ranks(self) -> Path:
        """Plan and records of the processes, where several trained."""
        return self.folder / "ranks"

    @property
    def handover(self) -> Path:
        return self.folder / "handover.json"


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every checkpoint, oldest first. By step number, never by file time."""
    found = []
    for path in folder.glob("checkpoint-*"):
        match = _CHECKPOINT.match(path.name)
        if match and path.is_dir() and not path.is_symlink():
            found.append((int(match[1]), path))
    return sorted(found)


def newest_whole_checkpoint(
    folder: Path, also: Callable[[Path], str | None] = lambda path: None
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint whose manifest verifies, and the newer ones that were passed over with
    the reason.

    Args:
        also: what else speaks against one.
    """
    damaged: list[tuple[Path, str]] = []
    for _, path in reversed(checkpoints_in(folder)):
        problem = problem_with(path) or also(path)
        if problem is None:
            return path, damaged
        damaged.append((path, problem))
    return None, damaged
