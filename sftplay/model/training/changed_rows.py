"""A resume where data/processed holds other rows than the run was trained on: said before anything
is made again.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from sftplay.data import process
from sftplay.errors import RefusedError, SftplayError
from sftplay.freshness import FORMATS, read_stamp
from sftplay.places import data_folder
from sftplay.runs import Run
from sftplay.settings import Settings
from sftplay.stages import Job
from sftplay.untrusted import read_json

_TRAIN = process.ROW_FILES[0]


@dataclass(frozen=True)
class ChangedRows:
    """Origin of the processed training rows now and then, and how to return to those."""

    folder: Path
    now: str
    then: str
    todo: str

    def __str__(self) -> str:
        if self.now == self.then:
            return f"{self.folder} holds other rows of {self.now} than this run was trained on"
        return (
            f"{self.folder} is made of {self.now} now; this run was trained on rows of {self.then}"
        )


def refuse_changed_rows(job: Job, run: Run) -> None:
    """Spare the work of render and tokenize, and leave their folders as they are. Whatever this
    does not see, the stamp does.

    Raises:
        RefusedError: the training rows are others, and the data stages would leave them so (76).
    """
    found = find_changed_rows(run, job.settings)
    if found and process.freshness(job) is None:
        raise RefusedError(str(found), where=str(run.data_record), todo=found.todo)


def find_changed_rows(run: Run, settings: Settings) -> ChangedRows | None:
    """None where the training rows are the run's, or nothing is known of the ones or the others."""
    folder = data_folder("processed", settings)
    now = read_stamp(folder)
    if now is None:
        return None
    try:
        then = read_json(run.data_record)["stages"]["process"]
        same = then["facts"]["files"][_TRAIN]["hash"] == now.facts["files"][_TRAIN]["hash"]
        if (
            same or then["format"] != FORMATS["process"]
        ):  # another format writes the same rows otherwise
            return None
        sections = now.section, then["section"]
        raw, was = (one.get("data.mix") or one["data.raw"] for one in sections)
        sets = "".join(f" --set {shlex.quote(str(override))}" for override in then["overrides"])
    except (SftplayError, KeyError, TypeError):
        return None
    command = f"inv process --config {run.config}{sets}, then the same command"
    settled = raw != was or now.section != then["section"]
    return ChangedRows(
        folder,
        str(raw),
        str(was),
        command if settled else f"put {was} back as it was; then {command}",
    )
