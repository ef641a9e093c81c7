"""A run's folder: its files by name, its attempts, its history.

It is long because every file of a run is named here, and nowhere else.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sftplay.attempts import ATTEMPT, Attempt, newest_whole_checkpoint
from sftplay.errors import NotFoundError, RefusedError, SftplayError
from sftplay.files import append_line
from sftplay.manifest import MANIFEST, problem_with
from sftplay.places import OUTPUTS
from sftplay.untrusted import RECORD, parse_json, read_lines

TASK_PREFIX = "task-"
_NO_PATH = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Run:
    """outputs/<name>/: where each thing lies."""

    name: str

    @property
    def folder(self) -> Path:
        return OUTPUTS / self.name

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def stamp(self) -> Path:
        return self.folder / "backend.json"

    @property
    def record(self) -> Path:
        return self.folder / "run.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def data_record(self) -> Path:
        """Read the data stages' reports of the time when the training began: the data may be made
        again later.
        """
        return self.folder / "data.json"

    @property
    def template(self) -> Path:
        return self.folder / "chat_template.jinja"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def model(self) -> Path:
        """The tuned weights of a `full` run."""
        return self.folder / "model"

    @property
    def merged(self) -> Path:
        return self.folder / "merged"

    @property
    def gguf(self) -> Path:
        return self.folder / "gguf"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions"

    @property
    def launch(self) -> Path:
        """The launcher's records; read-only for a container."""
        return self.folder / "launch"

    @property
    def run_lock(self) -> Path:
        return self.folder / ".run.lock"

    @property
    def ranks_lock(self) -> Path:
        """Shared by the ranks of a training: they may outlive their front by one checkpoint."""
        return self.folder / ".ranks.lock"

    @property
    def launch_lock(self) -> Path:
        return self.folder / ".launch.lock"

    @property
    def locks(self) -> tuple[Path, ...]:
        """Locks that whoever removes it takes: of a launcher, a stage, ranks that still save."""
        return self.launch_lock, self.run_lock, self.ranks_lock

    def eval(self, split: str) -> Path:
        return self.folder / "eval" / split

    def task(self, name: str) -> Path:
        """The evaluation on a task of lm-eval, next to those on splits."""
        return self.eval(TASK_PREFIX + _NO_PATH.sub("-", name))

    def tensorboard(self, attempt: Attempt) -> Path:
        return self.folder / "tb" / attempt.name

    def attempts(self) -> list[Attempt]:
        """Attempts so far, by number."""
        found = []
        for folder in (self.folder / "attempts").glob("*"):
            match = ATTEMPT.match(folder.name)
            if match and folder.is_dir():
                found.append(Attempt(folder, int(match[1]), match[2]))
        return sorted(found, key=lambda attempt: attempt.number)

    def attempt(self, number: int, backend: str) -> Attempt:
        """The attempt of that number, whether it exists or not."""
        return Attempt(self.folder / "attempts" / f"{number:02d}-{backend}", number, backend)

    def attempt_of(self, name: str) -> Attempt:
        """The attempt with that folder name, whether it exists or not."""
        number, _, backend = name.partition("-")
        return self.attempt(int(number), backend)

    def record_event(self, kind: str, **facts: Any) -> None:
        """Add one line to the run's history (started, handed over, checkpointed, resumed, finished,
        failed …).
        """
        moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        append_line(
            self.events,
            json.dumps(
                {"time": moment, "event": kind, **facts},
                ensure_ascii=False,
                allow_nan=False,
                default=str,
            ),
        )

    def history(self) -> Iterator[dict[str, Any]]:
        """The run's events in order; a line that is not JSON is shown as the event `unreadable`."""
        try:
            for line in read_lines(self.events, limit=RECORD):
                yield _event_in(line)
        except NotFoundError:
            return
        except SftplayError as error:
            yield {"event": "unreadable", "line": error.what}

    def has_begun(self) -> bool:
        """True if something was trained here, or is being trained."""
        return (
            os.path.lexists(self.stamp)
            or any(one.has_begun for one in self.attempts())
            or self.tuned() is not None
        )

    def tuned(self) -> Path | None:
        """The folder with the trained weights (adapter/ or model/), where there is one."""
        return next(
            (folder for folder in (self.adapter, self.model) if (folder / MANIFEST).is_file()), None
        )

    def require_tuned(self) -> Path:
        """The trained weights, verified.

        Raises:
            NotFoundError: never trained, or not to its end (66). RefusedError: changed since (76).
        """
        folder = self.tuned()
        if folder is None:
            if not self.folder.is_dir():
                names = (
                    ", ".join(
                        sorted(p.name for p in OUTPUTS.glob("*") if (p / "config.yaml").is_file())[
                            :8
                        ]
                    )
                    or "none"
                )
                raise NotFoundError(
                    f"there is no run {self.name} (runs here: {names})",
                    where=str(self.folder),
                    todo="train it first: inv train, or name one with --run",
                )
            raise NotFoundError(
                f"the run {self.name} holds no trained model yet",
                where=str(self.folder),
                todo=f"train it first: inv train --config {self.config if self.config.is_file() else 'FILE'}"
                + (" --resume" if self.has_begun() else ""),
            )
        problem = problem_with(folder)
        if problem:
            raise RefusedError(
                f"the trained weights were changed: {problem}",
                where=str(folder),
                todo=self._repair_advice(),
            )
        return folder

    def require_merged(self) -> Path:
        """The merged model, verified.

        Raises:
            NotFoundError: there is none (66). RefusedError: changed since (76).
        """
        again = f"inv merge --run {self.name}"
        return self._require_sealed(
            self.merged,
            missing=("no merged model", f"make it first: {again}"),
            changed=("the merged model was changed", f"make it again: {again}"),
        )

    def require_gguf(self) -> Path:
        """The folder with the GGUF files, verified.

        Raises:
            NotFoundError: there is none (66). RefusedError: changed since (76).
        """
        again = f"inv export --run {self.name}"
        return self._require_sealed(
            self.gguf,
            missing=("no GGUF file", f"make one first: {again}"),
            changed=("the GGUF files were changed", f"remove the folder, then: {again}"),
        )

    def _require_sealed(
        self, folder: Path, *, missing: tuple[str, str], changed: tuple[str, str]
    ) -> Path:
        """Return a folder with a manifest, verified.

        Args:
            missing, changed: what is said where it is so, and what to do.
        """
        if not (folder / MANIFEST).is_file():
            raise NotFoundError(
                f"the run {self.name} has {missing[0]}", where=str(folder), todo=missing[1]
            )
        problem = problem_with(folder)
        if problem:
            raise RefusedError(f"{changed[0]}: {problem}", where=str(folder), todo=changed[1])
        return folder

    def _repair_advice(self) -> str:
        """Explain what to do about published weights that were changed: the checkpoints may still
        hold them.
        """
        begun = [attempt for attempt in self.attempts() if attempt.has_begun]
        if begun and newest_whole_checkpoint(begun[-1].checkpoints)[0] is not None:
            return f"restore the file, or publish it again from the checkpoints: inv train --run {self.name} --resume"
        return f"restore the file, or train again: inv train --config {self.config} --run {self.free_name()}"

    def refuse_second_start(self) -> None:
        """A run that has begun or finished is not started again: 76, offering a free name."""
        if self.has_begun():
            raise RefusedError(
                f"the run {self.name} already exists",
                where=str(self.folder),
                todo=f"continue it: the same command with --resume\nor start a new one: the same command with --run {self.free_name()}",
            )

    def free_name(self) -> str:
        """The next name of the form <name>-2 that no run has."""
        number = 2
        while (OUTPUTS / f"{self.name}-{number}").exists():
            number += 1
        return f"{self.name}-{number}"


def _event_in(line: bytes) -> dict[str, Any]:
    """A line of the history; the event `unreadable` where it is none."""
    try:
        event = parse_json(line)
    except ValueError:
        event = None
    if isinstance(event, dict):
        return event
    return {"event": "unreadable", "line": line.decode("utf-8", "replace").rstrip()[:200]}
