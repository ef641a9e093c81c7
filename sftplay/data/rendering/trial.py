"""A first try of a chat template, in a process of its own: what kills that one does no harm.

The parser, Python's compiler and the first renderings see a stranger's template here, with limits
on time and memory that the kernel keeps. After that it is rendered by `bounded`, at no cost per row.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from sftplay.errors import DataError

LARGEST_SOURCE = 1_000_000  # characters; the largest template that is known has 30,000
_SECONDS = 6
_MEMORY = 1 << 30  # bytes more than this process has
_WHOLE = b"tried"
_ADVICE = "use another chat template: data.chat_template, or `trl:NAME`"


def try_out(source: str, work: Callable[[], None], where: str) -> None:
    """Run `work` in a fork of this process, with limits.

    Args:
        source: the template's text.
        work: compiles and renders; its DataErrors are raised here.

    Raises:
        DataError: what `work` raises, or the template broke or outlasted the process (65).
    """
    if len(source) > LARGEST_SOURCE:
        raise DataError(
            f"a chat template of {len(source):,} characters: it is none", where=where, todo=_ADVICE
        )
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        _work(work, into)
    os.close(into)
    with open(out, "rb") as said:
        words = said.read(4096)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if words == _WHOLE:
        return
    why = words.decode("utf-8", "replace") or _death(status)
    raise DataError(f"the chat template can't be used: {why}", where=where, todo=_ADVICE)


def _death(status: int) -> str:
    if status == -signal.SIGSEGV:
        return "it is nested too deeply"
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"it does not end within {_SECONDS} seconds"
    return f"it ends the process that tries it ({status})"


def _work(work: Callable[[], None], into: int) -> NoReturn:
    """Do it in the child; nothing of the parent's is cleaned up or flushed here."""
    words = _WHOLE
    try:
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        _limit(resource.RLIMIT_CPU, _SECONDS)
        _limit(resource.RLIMIT_AS, _size() + _MEMORY)
        _limit(resource.RLIMIT_CORE, 0)
        work()
    except DataError as error:
        words = error.what.encode("utf-8", "replace")[:1000]
    except MemoryError:
        words = b"it takes too much memory"
    except RecursionError:
        words = b"it is nested too deeply"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends here
        words = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000]
    finally:
        try:
            os.write(into, words)
        finally:
            os._exit(0)


def _limit(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (value if hard < 0 else min(value, hard), hard))


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
