"""outputs/<run>/launch/: what was started and how it ended, one numbered set of files for each
start.

start-NNN.json is written before the start, exit-NNN.json once and last; output-NNN.log holds what
the stage printed; seen-NNN says that a person has been told the end; asked-NNN that one asked for
it, written before the stop is sent, so that a launcher which comes later knows it too.
packages-NNN.txt lists what the Python of the runner `active` had.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

from sftplay.errors import ProtocolError, SftplayError
from sftplay.files import write_json, write_text
from sftplay.temporary import TMP_PREFIX
from sftplay.untrusted import read_json, read_text

PROCESS_RUNNERS = ("local", "active")
_START = re.compile(r"^start-([0-9]{3,9})\.json$")
_Record = TypeVar("_Record", "Start", "Exit")
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "int": int, "str": str, "bool": bool, "int | None": (int, type(None)), "tuple[str, ...]": tuple,
}  # fmt: skip


@dataclass(frozen=True)
class Start:
    """A start of the training stage.

    Attributes:
        nonce: known to the launcher and this start's stage only; a hand-over file has to name it.
        argv: what stood after `python -m sftplay`.
        runner: docker, local, active, or preflight: nothing was started, the launcher itself saw that it
            can't run.
        environment_hash: of the environment, or of the active Python's packages; image: digest of the docker runner's
            image.
        attempt: name of the Unsloth attempt that may ask to be handed over; empty for other
            backends.
        job: scheduler and number of the job that it was started in, for example `slurm 12_3`, and
            node: of that cluster. Empty on a machine of one's own.
    """

    number: int
    nonce: str
    argv: tuple[str, ...]
    stack: str
    runner: str
    environment_hash: str
    created: str
    image: str = ""
    attempt: str = ""
    job: str = ""
    node: str = ""

    @property
    def is_process(self) -> bool:
        """Return whether it runs under a supervisor on this machine, and not in a container."""
        return self.runner in PROCESS_RUNNERS

    @property
    def place(self) -> str:
        """Job and node of a cluster; empty on a machine of one's own."""
        return f"{self.job} on {self.node}" if self.job else ""


@dataclass(frozen=True)
class Exit:
    """The end of a start.

    Attributes:
        code: the stage's exit code, 128 + signal where one ended it; None where nobody saw the end
            (`lost`).
        asked: what a person had asked for by then: nothing, `stop` or `kill`.
        oom: the engine says that the kernel killed it for memory.
    """

    number: int
    nonce: str
    code: int | None
    asked: str
    ended: str
    oom: bool = False

    @property
    def lost(self) -> bool:
        """Return whether the supervisor was killed before it could write the end down."""
        return self.code is None


def new_start(
    folder: Path,
    argv: Sequence[str],
    *,
    stack: str,
    runner: str,
    environment_hash: str = "",
    image: str = "",
    attempt: str = "",
) -> Start:
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
        image=image,
        attempt=attempt,
        job=os.environ.get("SFTPLAY_JOB", ""),
        node=os.environ.get("SFTPLAY_NODE", ""),
    )
    write_json(start_file(folder, start.number), asdict(start))
    return start


def newest(folder: Path) -> Start | None:
    """The start with the highest number."""
    numbers = _numbers(folder)
    return read_start(start_file(folder, numbers[-1])) if numbers else None


def newest_place(folder: Path) -> str:
    """Return where the newest start runs in a cluster; empty elsewhere, or if it can't be read."""
    try:
        start = newest(folder)
    except SftplayError:
        return ""
    return start.place if start else ""


def every(folder: Path) -> list[Start]:
    """All starts, oldest first."""
    return [read_start(start_file(folder, number)) for number in _numbers(folder)]


def _numbers(folder: Path) -> list[int]:
    matches = map(_START.match, (path.name for path in folder.glob("start-*")))
    return sorted(int(match[1]) for match in matches if match)


def read_start(path: Path) -> Start:
    """A start's record.

    Raises:
        ProtocolError: it does not hold what a record holds (70). StorageError: not JSON (74).
    """
    value = read_json(path)
    return _read(path, value, Start)


def read_exit(folder: Path, start: Start) -> Exit | None:
    """Read the end of `start`; None while it runs, or if nobody wrote it down."""
    path = exit_file(folder, start.number)
    if not path.is_file():
        return None
    end = _read(path, read_json(path), Exit)
    if end.nonce != start.nonce:
        raise ProtocolError(
            "this record belongs to another start", where=str(path), todo="delete it"
        )
    return end


def write_exit(
    folder: Path, start: Start, *, code: int | None, asked: str, oom: bool = False
) -> Exit:
    """Write how `start` ended, also where the disk has been full since: some room was kept for it."""
    _room(folder, start.number).unlink(missing_ok=True)
    end = Exit(start.number, start.nonce, code, asked, now(), oom)
    write_json(exit_file(folder, start.number), asdict(end))
    return end


def keep_room(folder: Path, number: int) -> None:
    """Hold a little of the disk until the end is written down: a training that ends for want of
    room can still say so.
    """
    with contextlib.suppress(OSError), open(_room(folder, number), "wb") as room:
        os.posix_fallocate(room.fileno(), 0, 1 << 14)


def _room(folder: Path, number: int) -> Path:
    return folder / f"{TMP_PREFIX}room-{number:03d}"


def start_file(folder: Path, number: int) -> Path:
    """Written before the start."""
    return folder / f"start-{number:03d}.json"


def exit_file(folder: Path, number: int) -> Path:
    """Written once the start has ended."""
    return folder / f"exit-{number:03d}.json"


def output_file(folder: Path, number: int) -> Path:
    """Return the file with the stage's output, byte for byte."""
    return folder / f"output-{number:03d}.log"


def seen_file(folder: Path, number: int) -> Path:
    """There when a person has been told the end."""
    return folder / f"seen-{number:03d}"


def asked_file(folder: Path, number: int) -> Path:
    """Holds `stop` or `kill` once a person asked a container for its end."""
    return folder / f"asked-{number:03d}"


def write_packages(folder: Path, number: int, freeze: Sequence[str]) -> None:
    """Write what the active Python has, one package a line."""
    write_text(packages_file(folder, number), "\n".join(freeze) + "\n")


def packages_file(folder: Path, number: int) -> Path:
    """Return the list of the active Python's packages; no other start has one."""
    return folder / f"packages-{number:03d}.txt"


def read_asked(folder: Path, number: int) -> str:
    """`stop`, `kill`, or nothing."""
    try:
        return read_text(asked_file(folder, number), limit=100).strip()
    except SftplayError:
        return ""


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _read(path: Path, value: object, kind: type[_Record]) -> _Record:
    try:
        assert isinstance(value, dict)
        if "argv" in value:
            value["argv"] = tuple(value["argv"])
        record = kind(**value)
        assert all(
            isinstance(getattr(record, field.name), _KINDS[str(field.type)])
            for field in fields(kind)
        )
        assert all(isinstance(word, str) for word in getattr(record, "argv", ()))
        assert re.findall(r"\d+", path.name) == [f"{record.number:03d}"]
        return record
    except (AssertionError, TypeError) as error:
        raise ProtocolError(
            "not a record of a launch", where=str(path), todo="restore the file, or delete it"
        ) from error
