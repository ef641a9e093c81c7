"""Lines for people: a blue mark for info, green success, yellow warning, red error. All on stderr;
stdout is for results.

Colours only on a terminal, never with NO_COLOR (no-color.org). A stage may add a log file that gets
the same lines, plain.
"""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from sftplay.errors import SftplayError, StoppedError, StorageError
from sftplay.files import append_line
from sftplay.terminal_text import harmless

_COLOURS = {"info": "34", "success": "32", "warning": "33", "error": "31"}
_MARKS = {"info": "·", "success": "✓", "warning": "!", "error": "✗"}
LOG_VARIABLE = (
    "SFTPLAY_LOG"  # set by a stage for its own process: the file that gets a copy of each line
)


def use_colour() -> bool:
    """Decide if lines are colored: on a terminal (also one that a launcher copies to) that is not
    dumb, without NO_COLOR.
    """
    terminal = sys.stderr.isatty() or bool(os.environ.get("SFTPLAY_TERMINAL"))
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def info(text: str) -> None:
    """Print progress."""
    _say("info", text)


def success(text: str) -> None:
    """Something is done."""
    _say("success", text)


def warning(text: str) -> None:
    """Something a person should look at; the work continues."""
    _say("warning", text)


def error(text: str) -> None:
    """Something failed."""
    _say("error", text)


def failure(problem: SftplayError | StoppedError) -> None:
    """An expected failure: what happened, where, and what to do next."""
    error(str(problem))
    if problem.todo:
        for line in problem.todo.splitlines():
            _say("info", f"next: {line}")


def result(text: str, end: str = "\n") -> None:
    """Print a result on stdout at once.

    A reader that is gone raises BrokenPipeError: there is nobody left to work for.
    """
    if sys.stdout.isatty():
        text = harmless(text, colors=True)
    with writing_results():
        print(text, end=end, flush=True)  # noqa: T201 - the one place that prints results


def flush_results() -> None:
    """Hand over what was printed on stdout.

    A reader that is gone raises BrokenPipeError, as `result` does.

    Raises:
        StorageError: stdout can't be written: a full disk, a device that takes nothing (74).
    """
    with writing_results():
        sys.stdout.flush()


@contextlib.contextmanager
def writing_results() -> Iterator[None]:
    """A block that does nothing but print results: its faults are those of stdout.

    Raises:
        StorageError: see `flush_results`.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_stdout()
        raise StorageError(
            f"the output can't be written ({error.strerror})",
            where="stdout",
            todo="see where it is sent to, then run the same command again",
        ) from error


def settle_stderr() -> None:
    """Let go of lines that stderr does not take: Python would try again at its exit, and end in
    120.
    """
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def drop_stdout() -> None:
    """Send further output nowhere: its reader is gone, or has no room. What is still in the buffer
    does not fail once more at exit.
    """
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_streams() -> None:
    """Open the null device as stdin, stdout and stderr where they are closed: else the next file
    that is opened would take their number, and get the output.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            try:
                os.fstat(number)
            except OSError:
                os.dup2(opened, number)
            os.set_inheritable(number, True)
            if opened != number:
                os.close(opened)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def count_of(number: int, what: str = "row") -> str:
    """`1 row`, `7,473 rows`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def share_text(share: float) -> str:
    """`40.0%`; what would be rounded to none or all of something is `<0.1%`, `>99.9%`."""
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"


def log(text: str) -> None:
    """A line for the log file alone."""
    path = os.environ.get(LOG_VARIABLE)
    if path:
        stamp = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with contextlib.suppress(SftplayError):  # a view: a full disk is told where it matters
            append_line(Path(path), f"{stamp} {text}")


def _say(kind: str, text: str) -> None:
    text = harmless(text)
    line = _wrapped(f"{_MARKS[kind]} {text}")
    if use_colour():  # the mark alone: text in the terminal's own color reads on any background
        line = f"\x1b[1;{_COLOURS[kind]}m{line[0]}\x1b[0m{line[1:]}"
    try:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the one place that prints
    except UnicodeEncodeError:
        print(line.encode("ascii", "replace").decode(), file=sys.stderr, flush=True)  # noqa: T201 - as above
    except (OSError, ValueError):
        # the terminal is gone (a pipe without reader, a hung-up line, no stderr); the work and the
        # log continue
        pass
    log(f"{kind}: {text}")


def _wrapped(line: str) -> str:
    """A line broken between words where the terminal is narrower; the rest is indented."""
    width = _terminal_width()
    if width is None or (len(line) <= width and "\n" not in line):
        return line
    first, *rest = line.split("\n")
    parts = [first, *(part if part.startswith(" ") else f"  {part}" for part in rest)]
    return "\n".join(
        textwrap.fill(
            part, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        for part in parts
    )


def _terminal_width() -> int | None:
    """Columns of the terminal that shows the lines, also where a launcher copies them; None: none."""
    given = os.environ.get("SFTPLAY_TERMINAL", "")
    if given:
        return int(given) if given.isdecimal() and int(given) >= 20 else None
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None
