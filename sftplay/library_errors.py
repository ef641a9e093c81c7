"""Exceptions of libraries that read or write files, turned into errors of ours.

safetensors, tokenizers and torch have exceptions of their own for a full disk, and raise anything
from KeyError to `Exception` for a file that is cut off or not what its name says.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sftplay.errors import OutOfMemoryError, SftplayError, StorageError
from sftplay.files import OF_DISK, explain_os_error
from sftplay.untrusted import AGAIN

_OS_ERROR = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")  # as Rust and Python word them
_WORDS = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
}
_TORCH_WRITER = re.compile(r"inline_container|PytorchStreamWriter")


def explain_library_error(error: BaseException, path: Path | str) -> SftplayError | None:
    """Return the failure of a disk or of memory that a library's exception stands for, if it does.

    Args:
        path: what was read or written.
    """
    for seen in _chain(error):
        number = _number_of(seen)
        # What caused another error counts for the disk alone: a missing file may be a bug of ours.
        if number is not None and (seen is error or number in OF_DISK):
            known = seen if isinstance(seen, OSError) else OSError(number, str(seen)[:300])
            return explain_os_error(known, path)
        if _is_out_of_gpu_memory(seen):
            return OutOfMemoryError(
                "out of GPU memory",
                todo="close what else uses the GPU (nvidia-smi), or take a smaller batch or model",
            )
        if _TORCH_WRITER.search(str(seen)):
            return StorageError(f"could not be written ({str(seen)[:200]})", where=str(path))
        if type(seen).__name__ == "SafetensorError":
            return StorageError(f"damaged weights ({str(seen)[:200]})", where=str(path), todo=AGAIN)
    return None


def is_of_disk(error: BaseException) -> bool:
    """True if a failure is that of a file or a disk of this machine, not that of a connection."""
    if isinstance(error, OSError) and error.filename is not None:
        return True
    return any(_number_of(seen) in OF_DISK for seen in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what caused it, what caused that, and so on."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _number_of(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else _os_error_in(str(error))


def _is_out_of_gpu_memory(error: BaseException) -> bool:
    """Tell torch's exception by its name: torch is not imported here."""
    kind = type(error)
    return kind.__name__ == "OutOfMemoryError" and kind.__module__.partition(".")[0] == "torch"


def _os_error_in(text: str) -> int | None:
    found = _OS_ERROR.search(text)
    if found:
        return int(found[1] or found[2])
    return next((number for words, number in _WORDS.items() if words in text), None)


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Let a library read files of a folder; whatever it raises means that they can't be read.

    Args:
        what: what is read, for the message: `the tokenizer`.

    Raises:
        StorageError: damaged (74).
    """
    try:
        yield
    except (SftplayError, MemoryError):
        raise
    except Exception as error:  # anything, down to plain `Exception`
        known = explain_library_error(error, folder)
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise known or StorageError(
            f"{what} can't be read ({said})", where=str(folder), todo=AGAIN
        ) from error
