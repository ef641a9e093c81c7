"""The GGUF file that a person names: it is there, whole, and a model.

llama.cpp gives no reason why it can't load a file. Format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sftplay.errors import DataError, NotFoundError, RefusedError, SftplayError, StorageError
from sftplay.files import explain_os_error
from sftplay.gguf_owner import require_own_gguf
from sftplay.manifest import MANIFEST
from sftplay.runs import Run
from sftplay.stages import NEWEST_GGUF

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 1 << 16  # bytes of a text that is looked at
_SHOWN = 5
# (weights, bytes) of a block, by the number of the tensor's type: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1,
# Q8_0, Q2_K to Q6_K, BF16
_BLOCKS = {
    **{0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2)},
}


def check_gguf(run: Run, given: str) -> None:
    """See whether `--gguf` has a file to answer from, before anything is installed or loaded.

    Raises:
        SftplayError: as `named_gguf`; RefusedError: another run's (76). NotFoundError: no file is
            named, and the run has none (66).
    """
    if given != NEWEST_GGUF:
        require_own_gguf(run, named_gguf(run, given))
    elif not (run.gguf / MANIFEST).is_file():
        run.require_gguf()


def named_gguf(run: Run, given: str) -> Path:
    """Return the file, looked at.

    Raises:
        NotFoundError: no such file (66). DataError: not a GGUF file (65). StorageError: it is cut
            off (74). RefusedError: an adapter without its base (76).
    """
    file = Path(given)
    if not file.is_file():
        what = "a folder, not a GGUF file" if file.is_dir() else "no such file"
        raise NotFoundError(what, where=given, todo=_others(run))
    try:
        kind = kind_of_gguf(file)
    except SftplayError as problem:
        problem.todo = problem.todo or _others(run)
        raise
    if kind == "adapter":
        raise RefusedError(
            "the GGUF file of an adapter answers only on top of its base's",
            where=given,
            todo=_others(run),
        )
    return file


def kind_of_gguf(file: Path) -> str:
    """Return `model` or `adapter`, as a whole file says.

    Raises:
        DataError: not a GGUF file (65). StorageError: it is cut off, or not readable (74).
    """
    try:
        with open(file, "rb") as source:
            reader = _Reader(source, os.fstat(source.fileno()).st_size)
            kind = reader.read()
    except struct.error:
        raise StorageError("the file is cut off in its header", where=str(file)) from None
    except OSError as error:
        raise explain_os_error(error, file) from error
    except ValueError as error:
        raise DataError(str(error), where=str(file)) from None
    if reader.missing > 0:
        raise StorageError(
            f"the file is cut off: {reader.missing:,} bytes are missing", where=str(file)
        )
    return kind


class _Reader:
    """A GGUF file's header.

    Attributes:
        missing: bytes that its tensors need and the file does not have.
    """

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source, self._size, self.missing = source, size, 0

    def read(self) -> str:
        """Return the kind of file. Raises ValueError: no GGUF file, struct.error: cut off."""
        magic = self._source.read(len(_MAGIC))
        if magic != _MAGIC:
            raise ValueError("the file is empty" if not magic else "not a GGUF file")
        version, tensors, keys = self._unpack("IQQ")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of GGUF is not known")
        values = {}
        for _ in range(keys):
            name = self._text()
            (kind,) = self._unpack("I")
            values[name] = self._value(kind)
        align = values.get(b"general.alignment")
        align = align if isinstance(align, int) and align > 0 else 32
        ends = [self._tensor() for _ in range(tensors)]
        start = -(-self._source.tell() // align) * align
        self.missing = start + max(ends, default=0) - self._size
        return "adapter" if values.get(b"general.type") == b"adapter" else "model"

    def _tensor(self) -> int:
        """Return where a tensor's bytes end, from the beginning of all of them."""
        self._text()
        (dimensions,) = self._unpack("I")
        weights = 1
        for length in self._unpack(f"{min(dimensions, 8)}Q"):
            weights *= length
        kind, offset = self._unpack("IQ")
        block, size = _BLOCKS.get(kind, (1, 0))
        return int(offset + weights // block * size)

    def _value(self, kind: int) -> Any:
        """Return a number or a text; arrays are passed over."""
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._unpack(self._letter(kind))[0]
        inner, count = self._unpack("IQ")
        if inner == _STRING:
            for _ in range(count):
                self._skip(*self._unpack("Q"))
        else:
            self._skip(count * struct.calcsize(f"<{self._letter(inner)}"))
        return None

    def _letter(self, kind: int) -> str:
        if kind not in _FIXED:
            raise ValueError(f"not a GGUF file: a value of type {kind}")
        return _FIXED[kind]

    def _text(self) -> bytes:
        (length,) = self._unpack("Q")
        if length > _LONGEST:
            self._skip(length)
            return b""
        return self._source.read(length)

    def _skip(self, length: int) -> None:
        if self._source.tell() + length > self._size:
            raise struct.error
        self._source.seek(length, os.SEEK_CUR)

    def _unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{form}", self._source.read(struct.calcsize(f"<{form}")))


def _others(run: Run) -> str:
    """Name files of the run that would do, and how one is made."""
    found = list(islice(_models(sorted(run.gguf.glob("*.gguf"))), _SHOWN))
    make = f"make one: inv export --run {run.name}"
    return f"there is {', '.join(found)}; or {make}" if found else make


def _models(files: list[Path]) -> Iterator[str]:
    for file in files:
        try:
            if file.is_file() and kind_of_gguf(file) == "model":
                yield str(file)
        except SftplayError:
            continue
