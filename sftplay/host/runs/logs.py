"""`inv logs RUN`: what a run has printed, and with -f what it prints, from any terminal.

One source at a time: train.log of the newest attempt; until a start has written to it, the output of
that start. Which of the two depends on the time of the start alone, so a progress bar that is redrawn
changes nothing.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from sftplay import console
from sftplay.errors import NotFoundError, SftplayError
from sftplay.files import human_size, open_regular
from sftplay.host.protocol import records
from sftplay.host.protocol.records import Start
from sftplay.host.runs.newest import running_or_newest
from sftplay.host.runs.view import require_run
from sftplay.host.ui.terminal import settled
from sftplay.locks import is_held
from sftplay.ranks import log_file
from sftplay.runs import Run
from sftplay.untrusted import read_tail

LATEST = 20  # lines shown before following
LARGEST = 64_000_000  # bytes of a log that are shown
_POLL = 0.2
_SETTLED = 1.5  # seconds without a lock: longer than a hand-over takes from one attempt to the next
_STAMPED = re.compile(
    r"^\S+T\S+ (info: |success: |warning: |error: )?|^[·✓!✗] "
)  # how a line of train.log begins, or one of the screen


def show(name: str | None, *, follow: bool = False) -> int:
    """Print a run's log on stdout; with `follow` its end, and then what comes, until the training
    ends.

    Args:
        name: default: the run that trains now, else the newest.

    Raises:
        NotFoundError: no such run, or nothing was logged yet (66).
    """
    run = (require_run(name) if name else running_or_newest()).run
    source = source_of(run)
    if source is None and not (follow and _runs(run)):
        raise NotFoundError(
            "this run has no log yet", where=str(run.folder), todo=f"inv runs.show {run.name}"
        )
    if not follow:
        assert source is not None
        console.result(settled(read_tail(source, LARGEST)), end="")
        if source.stat().st_size > LARGEST:
            console.info(f"the last {human_size(LARGEST)} of it; all: {source}")
        return 0
    try:
        for text in follow_run(run):
            console.result(text, end="")
    except KeyboardInterrupt:
        return 130  # how a person stops looking; the training continues
    return 0


def show_rank(name: str | None, rank: int) -> int:
    """Print on stdout what one rank of the newest attempt has printed.

    Raises:
        NotFoundError: no such run, or no such rank in it (66).
    """
    run = (require_run(name) if name else running_or_newest()).run
    attempts = run.attempts()
    log = log_file(attempts[-1].ranks, rank) if attempts else None
    if log is None or not log.is_file():
        raise NotFoundError(
            f"the newest attempt has no rank {rank} with a log",
            where=str(run.folder),
            todo=f"rank 0 writes the run's own log: inv logs {run.name}",
        )
    console.result(settled(read_tail(log, LARGEST)), end="")
    return 0


def source_of(run: Run) -> Path | None:
    """Return the file that holds what a run prints now, or printed last."""
    start = _newest_start(run)
    output = records.output_file(run.launch, start.number) if start else None
    output = output if output is not None and output.is_file() else None
    logs = [attempt.log for attempt in run.attempts() if attempt.log.is_file()]
    if output is not None and start and (not logs or _is_older(logs[-1], run, start)):
        return output
    return logs[-1] if logs else None


def _is_older(log: Path, run: Run, start: Start) -> bool:
    """Return whether a train.log was last written before `start`, which has not come to it yet."""
    began = records.start_file(run.launch, start.number)
    return log.stat().st_mtime_ns < began.stat().st_mtime_ns


def _newest_start(run: Run) -> Start | None:
    try:
        return records.newest(run.launch)
    except Exception:  # noqa: BLE001 - a torn record: the log is still there
        return None


def last_line(path: Path) -> str:
    """Return the last thing that a log says, without its time or mark: as one line if it was broken
    for a terminal; of a progress bar what came before it.
    """
    try:
        text = settled(read_tail(path, 4096))
    except SftplayError:
        return ""
    parts: list[str] = []
    for line in reversed([line for line in text.splitlines() if line.strip()]):
        parts.insert(0, line.strip())
        if not line.startswith("  "):
            break
    return _STAMPED.sub("", " ".join(parts))


def follow_run(run: Run) -> Iterator[str]:
    """Yield the last lines of a run's log, then what comes, until its training has ended."""
    places = {attempt.log: _Place(attempt.log, _size(attempt.log)) for attempt in run.attempts()}
    source = source_of(run)
    if source is not None:
        places[source] = _Place(source, _tail_start(source))
    free_since: float | None = None
    while True:
        over = free_since is not None and time.monotonic() - free_since > _SETTLED
        newer = source_of(run) or source
        if newer is not None:
            places.setdefault(newer, _Place(newer))
        if source is not None:
            text = places[source].read(whole_lines=not over)
            if newer is not None and newer != source:
                text = _before(text, places[newer].peek())
            yield settled(text)
        if newer != source:
            source = newer
            continue
        if over:
            return
        free_since = None if _runs(run) else free_since or time.monotonic()
        time.sleep(_POLL)


def _runs(run: Run) -> bool:
    return is_held(run.launch_lock) or is_held(run.run_lock)


def _before(output: bytes, log: bytes) -> bytes:
    """Cut from a start's output what train.log has too: everything from its first line on."""
    first = _text_of(log.partition(b"\n")[0])
    kept = []
    for line in output.splitlines(keepends=True):
        if first and _text_of(line) == first:
            break
        kept.append(line)
    return b"".join(kept)


def _text_of(line: bytes) -> str:
    return _STAMPED.sub("", settled(line).strip())


class _Place:
    """The position up to which a file was read; 0 again once the file was replaced or cut."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path, self._offset, self._file = path, offset, _inode(path)

    def read(self, *, whole_lines: bool) -> bytes:
        """Return what has been added since the last time."""
        piece = self.peek()
        piece = piece[: piece.rfind(b"\n") + 1] if whole_lines else piece
        self._offset += len(piece)
        return piece

    def peek(self) -> bytes:
        """Return what has been added, and leave it to be read."""
        try:
            with open_regular(self._path) as log:
                facts = os.fstat(log.fileno())
                if facts.st_ino != self._file or facts.st_size < self._offset:
                    self._file, self._offset = facts.st_ino, 0
                log.seek(self._offset)
                return log.read(LARGEST)
        except NotFoundError:  # between two files of a rotation
            return b""


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tail_start(path: Path) -> int:
    """Return the position at which the last lines begin."""
    content = read_tail(path, LARGEST)
    before = max(0, _size(path) - len(content))
    place = len(content)
    for _ in range(LATEST + 1):
        place = content.rfind(b"\n", 0, place)
        if place < 0:
            return before
    return before + place + 1
