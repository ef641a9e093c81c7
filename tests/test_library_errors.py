"""What libraries raise for disks and files, in our words."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sftplay.errors import DataError, SftplayError, StorageError
from sftplay.library_errors import explain_library_error, reading


def caused(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


SafetensorError = type("SafetensorError", (Exception,), {})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "x"), 74),
        (SafetensorError("I/O error: No space left on device (os error 28)"), 74),
        (SafetensorError("Error while deserializing header: invalid JSON"), 74),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), 74),
        (Exception("Read-only file system (os error 30)"), 77),
        (caused(RuntimeError("x"), OSError(errno.EDQUOT, "x")), 74),
        (caused(RuntimeError("x"), OSError(errno.EIO, "x")), 74),
    ],
)
def test_a_failing_disk_is_seen_through_a_library(error: BaseException, code: int) -> None:
    found = explain_library_error(error, "outputs/demo")
    assert isinstance(found, SftplayError)
    assert (found.code, bool(found.where)) == (code, True)


def test_a_bug_stays_a_bug() -> None:
    assert explain_library_error(KeyError("x"), ".") is None
    assert explain_library_error(caused(KeyError("x"), FileNotFoundError(2, "x")), ".") is None


def test_whatever_is_raised_while_reading_is_a_damaged_file() -> None:
    broken = pytest.raises(StorageError, match=r"the tokenizer .*ZeroDivisionError")
    with broken, reading(Path("model"), "the tokenizer"):
        1 / 0  # noqa: B018
    with pytest.raises(DataError), reading(Path("model"), "the tokenizer"):
        raise DataError("our own")


def test_torch_without_gpu_memory_is_81_wherever_it_happens() -> None:
    torch = pytest.importorskip("torch", reason="needs the packages of a stack")
    for raised in (torch.OutOfMemoryError("CUDA out of memory"), torch.cuda.OutOfMemoryError("x")):
        known = explain_library_error(raised, "outputs")
        assert known is not None and known.code == 81
    assert explain_library_error(MemoryError("of the machine"), "outputs") is None
