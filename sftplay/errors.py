"""Every expected failure: one class, one exit code, one message that says what to do next.

A failure is raised anywhere and caught once (in `cli.main` inside a stage, in `host.menu` on the
host). The codes are those of sysexits.h where one fits; 79 to 82 and 85 are ours, chosen outside
the ranges that shells, docker and signals use.
"""

from __future__ import annotations


class SftplayError(Exception):
    """Base of all expected failures: what happened, where, and what to do next.

    Args:
        what: one sentence that says what happened, for a person.
        where: a file with line and column, a key, a device; printed after the sentence.
        todo: what to type or change next.
    """

    code = 1

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class UsageError(SftplayError):
    """The command line is wrong."""

    code = 2


class DataError(SftplayError):
    """The user's rows are bad: file, line, column, what to do."""

    code = 65


class NotFoundError(SftplayError):
    """A model, adapter, run or file is not there (the hub included)."""

    code = 66


class MachineError(SftplayError):
    """The machine: no engine, no GPU, driver, port, network."""

    code = 69


class ProtocolError(SftplayError):
    """One side of the launcher/stage border can't accept what the other side wrote."""

    code = 70


class StorageError(SftplayError):
    """Disk full or input/output error."""

    code = 74


class BusyError(SftplayError):
    """Another process holds the run."""

    code = 75


class RefusedError(SftplayError):
    """The stamp forbids it, or the data is stale."""

    code = 76


class PermissionDeniedError(SftplayError):
    """No permission: a file, a socket, a gated model."""

    code = 77


class ConfigError(SftplayError):
    """The configuration: all problems at once, nothing written."""

    code = 78


class HandOverError(SftplayError):
    """This backend cannot run here; another one should."""

    code = 79


class NonFiniteError(SftplayError):
    """Loss or gradient is not finite."""

    code = 80


class OutOfMemoryError(SftplayError):
    """Out of GPU memory."""

    code = 81


class GradientError(SftplayError):
    """Training's gradient is not that of an independent pass: it would learn nothing, or something
    wrong.
    """

    code = 82


class InterruptedSavedError(SftplayError):
    """Stopped by a signal after a checkpoint was written: `--resume` continues."""

    code = 85


class StoppedError(KeyboardInterrupt):
    """Stopped by the user or a signal with nothing to save yet: 130 for SIGINT, 143 for SIGTERM.

    No SftplayError, though it is said like one: a signal may come anywhere, also inside a `try`
    that expects a damaged file or a broken library, and must pass through every `except
    SftplayError` and `except Exception` there.
    """

    code = 130

    def __init__(self, what: str, *, signum: int = 2, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo
        self.code = 128 + signum

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


EXIT_MEANINGS: dict[int, str] = {
    0: "done",
    1: "a bug: the traceback is in a file, one line is on the screen",
    2: "usage (the command line)",
    65: "bad data: file, line, column, what to do",
    66: "model, adapter, run or file not found, or not all of it (hub included)",
    69: "the machine: no engine, no GPU, driver, port, network",
    70: "protocol between launcher and container broken",
    74: "disk full or input/output error",
    75: "busy: another process holds the run",
    76: "refused: the stamp, or stale data",
    77: "no permission (file, socket, gated model)",
    78: "configuration: all problems at once, nothing written",
    79: "this backend cannot run here: hand over",
    80: "loss or gradient not finite",
    81: "out of GPU memory",
    82: "the gradient is wrong on this machine: training would learn nothing",
    85: "stopped by a signal, checkpoint written: --resume continues",
    130: "stopped by the user, nothing to save yet",
    134: "native code aborted (SIGABRT)",
    135: "bus error (SIGBUS): /dev/shm is too small",
    137: "killed (SIGKILL): out of memory, or killed by somebody",
    139: "native code crashed (SIGSEGV)",
    143: "stopped by a signal, nothing to save yet",
}
