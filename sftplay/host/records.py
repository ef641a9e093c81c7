"""outputs/<run>/launch/: what was started and how it ended, one numbered set of files for each start.

start-NNN.json is written before the start, exit-NNN.json once and last; output-NNN.log holds what the stage printed; seen-NNN says
that a person has been told the end.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from sftplay.errors import ProtocolError
from sftplay.files import read_json, write_json

_START = re.compile(r"^start-(\d{3,})\.json$")
_Record = TypeVar("_Record", "Start", "Exit")


@dataclass(frozen=True)
class Start:
    """A start of the training stage.

    Attributes:
        nonce: known to the launcher and this start's stage only; a hand-over file has to name it.
        argv: what stood after `python -m sftplay`.
    """

    number: int
    nonce: str
    argv: tuple[str, ...]
    stack: str
    runner: str
    environment_hash: str
    created: str


@dataclass(frozen=True)
class Exit:
    """How a start ended.

    Attributes:
        code: the stage's exit code, 128 + signal where one ended it; None where nobody saw the end (`lost`).
        asked: what a person had asked for by then: nothing, `stop` or `kill`.
    """

    number: int
    nonce: str
    code: int | None
    asked: str
    ended: str

    @property
    def lost(self) -> bool:
        """Whether the supervisor was killed before it could write the end down."""
        return self.code is None


def new_start(folder: Path, argv: Sequence[str], *, stack: str, runner: str, environment_hash: str) -> Start:
    """Write the record of the next start."""
    before = newest(folder)
    start = Start(
        number=before.number + 1 if before else 1,
        nonce=secrets.token_hex(16),
        argv=tuple(argv),
        stack=stack,
        runner=runner,
        environment_hash=environment_hash,
        created=now(),
    )
    write_json(start_file(folder, start.number), asdict(start))
    return start


def newest(folder: Path) -> Start | None:
    """The start with the highest number."""
    numbers = [int(match[1]) for match in map(_START.match, (path.name for path in folder.glob("start-*"))) if match]
    return read_start(start_file(folder, max(numbers))) if numbers else None


def read_start(path: Path) -> Start:
    """A start's record.

    Raises:
        ProtocolError: it does not hold what a record holds (70). StorageError: not JSON (74).
    """
    value = read_json(path)
    return _read(path, value, Start)


def read_exit(folder: Path, start: Start) -> Exit | None:
    """How `start` ended; None while it runs, or where nobody wrote it down."""
    path = exit_file(folder, start.number)
    if not path.is_file():
        return None
    end = _read(path, read_json(path), Exit)
    if end.nonce != start.nonce:
        raise ProtocolError("this record belongs to another start", where=str(path), todo="delete it")
    return end


def write_exit(folder: Path, start: Start, *, code: int | None, asked: str) -> Exit:
    """Write how `start` ended."""
    end = Exit(start.number, start.nonce, code, asked, now())
    write_json(exit_file(folder, start.number), asdict(end))
    return end


def start_file(folder: Path, number: int) -> Path:
    """Written before the start."""
    return folder / f"start-{number:03d}.json"


def exit_file(folder: Path, number: int) -> Path:
    """Written once the start has ended."""
    return folder / f"exit-{number:03d}.json"


def output_file(folder: Path, number: int) -> Path:
    """What the stage printed, byte for byte."""
    return folder / f"output-{number:03d}.log"


def seen_file(folder: Path, number: int) -> Path:
    """There when a person has been told the end."""
    return folder / f"seen-{number:03d}"


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _read(path: Path, value: object, kind: type[_Record]) -> _Record:
    try:
        assert isinstance(value, dict)
        if "argv" in value:
            value["argv"] = tuple(value["argv"])
        return kind(**value)
    except (AssertionError, TypeError) as error:
        raise ProtocolError(
            "not a record of a launch", where=str(path), todo="restore the file, or delete it"
        ) from error
