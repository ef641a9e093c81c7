"""The one place that catches: any failure becomes one message and its exit code, an unexpected one
keeps its traceback.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import traceback
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from sftplay import console
from sftplay.errors import MachineError, SftplayError, StoppedError
from sftplay.files import write_text
from sftplay.library_errors import explain_library_error
from sftplay.places import OUTPUTS
from sftplay.stages import STAGES

# a stage's command in a hint, and what follows it up to the end of the command
_NAMES = "|".join(sorted((stage.name for stage in STAGES), key=len, reverse=True))
_COMMAND = re.compile(
    rf"\b(inv (?:full-pipeline|(?:{_NAMES})(?:-bnb|-unsloth|-quick|-batch|-interactive)?))"
    r"(?![\w.-])([^\n,;()]*)"
)


class Boundary:
    """A block of code whose failures end here. `with Boundary("train") as end: …`, then `end.code`.

    Attributes:
        code: exit code of the block; 0 unless it failed or the block set another.
        config: the config file that was named on the command line; commands that a message names
            get it too.
    """

    def __init__(self, name: str, *, passes: tuple[type[BaseException], ...] = ()) -> None:
        """Prepare a boundary.

        Args:
            name: what runs, for the traceback's file. The block may change it.
            passes: exceptions that are the caller's own.
        """
        self.name, self.code, self._passes = name, 0, passes
        self.config: str | None = None

    def __enter__(self) -> Boundary:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            return True
        if isinstance(error, self._passes) or not isinstance(
            error, (Exception, StoppedError, KeyboardInterrupt)
        ):
            return False
        self.code = self._report(error)
        return True

    def _report(self, error: BaseException) -> int:
        """Print what a person has to know. Returns the exit code."""
        if isinstance(error, BrokenPipeError):
            console.drop_stdout()
            return 141
        if isinstance(error, Exception) and not isinstance(error, SftplayError):
            known = explain_library_error(error, getattr(error, "filename", None) or OUTPUTS)
            if known is not None:
                write_traceback(self.name, error)
                error = known
        if isinstance(error, ImportError) and not (error.name or "sftplay").startswith("sftplay"):
            write_traceback(self.name, error)
            error = MachineError(
                f"a package of this environment can't be imported ({error})",
                where=sys.prefix,
                todo="inv install repairs environments; for an image: inv image.build",
            )
        if isinstance(error, (SftplayError, StoppedError)):
            error.todo = with_config(error.todo, self.config)
            console.failure(error)
            return error.code
        if isinstance(error, KeyboardInterrupt):
            console.error("stopped")
            return 130
        path = write_traceback(self.name, error)
        console.error(
            f"a bug in sftplay, or something it does not know: {type(error).__name__}: {str(error)[:300]}"
        )
        if path is None:
            traceback.print_exception(error)
        console.info(f"next: please report it with {path or 'the traceback above'}")
        return 1


def with_config(todo: str, config: str | None) -> str:
    """The commands of a hint with the person's `--config FILE`, unless they name a config or run."""
    if not config:
        return todo

    def insert(found: re.Match[str]) -> str:
        task, rest = found.groups()
        named = re.search(r"--(config|run)\b", rest)
        return found[0] if named else f"{task} --config {shlex.quote(config)}{rest}"

    return _COMMAND.sub(insert, todo)


def write_traceback(name: str, error: BaseException, folder: Path | None = None) -> Path | None:
    """Write an exception into a file in `folder`, else next to the log, else in outputs/.

    Returns its path, None where it can't be written.
    """
    moment = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    log = os.environ.get(console.LOG_VARIABLE)
    place = folder or (Path(log).parent if log else OUTPUTS)
    path = place / f"error-{name or 'start'}-{moment}.txt"
    try:
        write_text(path, "".join(traceback.format_exception(error)))
    except SftplayError:
        return None
    return path
