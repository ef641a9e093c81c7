"""A raw file as a stream of UTF-8 bytes: unpacked, its byte-order mark taken off, other encodings
refused by name.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sftplay.data.readers.archives import refuse_other_kind
from sftplay.errors import DataError
from sftplay.files import explain_os_error

if TYPE_CHECKING:
    from typing_extensions import Buffer

HEAD = 64 << 10
BINARY = ("parquet", "arrow")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_UTF8_BOM = b"\xef\xbb\xbf"
_FOREIGN_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


@dataclass
class Source:
    """An open raw file.

    Attributes:
        name: for messages.
        raw: the file itself; its position is what progress counts.
        stream: the unpacked bytes.
        head: the first bytes after the byte-order mark (at most 64 KiB); `read` begins with them.
        compression, encoding: for the report.
        offset: where `head` begins in the unpacked file (3 after a byte-order mark).
    """

    name: str
    raw: io.BufferedIOBase
    stream: io.BufferedIOBase
    head: bytes
    compression: str
    encoding: str
    offset: int
    counted: int = 0
    head_read: bool = False

    def used(self) -> int:
        """Return the number of bytes of the raw file read since the last call."""
        now = self.raw.tell()
        used, self.counted = now - self.counted, now
        return used

    def read(self, size: int) -> bytes:
        """Return the next `size` unpacked bytes (64 KiB at least at first), fewer at the end, none
        after it.

        Raises:
            DataError: the packed file is damaged or cut off (65).
        """
        first = b"" if self.head_read else self.head
        self.head_read = True
        with _named(self.name):
            return first + self.stream.read(max(size - len(first), 0))


@contextmanager
def open_source(path: Path, name: str, kind: str = "lines") -> Iterator[Source]:
    """Open a raw file of a kind (of rawdata.KINDS); text has its encoding checked.

    Raises:
        DataError: UTF-16, UTF-32, damaged packing, an archive or another kind of file (65).
            SftplayError: it can't be read.
    """
    text = kind not in BINARY
    try:
        with open(path, "rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            with _named(name):
                stream, compression = _unpacked(raw, magic)
                head = stream.read(HEAD)
            refuse_other_kind(head, kind, name, compression)
            if text:
                refuse_foreign(head, name)
            bom = text and head.startswith(_UTF8_BOM)
            head = head.removeprefix(_UTF8_BOM) if bom else head
            encoding = "UTF-8 with byte-order mark" if bom else "UTF-8" if text else "binary"
            yield Source(
                name, raw, stream, head, compression, encoding, len(_UTF8_BOM) if bom else 0
            )
    except OSError as error:
        raise explain_os_error(error, path) from error


def refuse_foreign(head: bytes, name: str) -> None:
    """Raise DataError (65) where the first bytes are not those of an UTF-8 text."""
    for bom, encoding in _FOREIGN_BOMS:
        if head.startswith(bom):
            raise _foreign(encoding, "byte-order mark at offset 0", name)
    zeros = [head[start::2].count(0) for start in (0, 1)]
    if max(zeros) > len(head) // 5:  # half of the bytes of Latin text in UTF-16 are zero
        encoding = "UTF-16LE" if zeros[1] > zeros[0] else "UTF-16BE"
        raise _foreign(encoding, f"zero bytes from offset {head.index(0)} on", name)


def refuse_cr_only(head: bytes, name: str) -> None:
    """Raise DataError (65) where lines end in a carriage return alone: the whole file would be one
    line.
    """
    if b"\r" in head and b"\n" not in head:
        raise DataError(
            f"lines end in CR alone (old Mac line ends, first at offset {head.index(13)}), not in LF or CRLF",
            where=name,
            todo="convert it: tr '\\r' '\\n' < OLD > NEW",
        )


def _foreign(encoding: str, evidence: str, name: str) -> DataError:
    return DataError(
        f"the file is {encoding} ({evidence}), not UTF-8",
        where=name,
        todo=f"save it as UTF-8: iconv -f {encoding} -t UTF-8 OLD > NEW",
    )


def _unpacked(raw: io.BufferedIOBase, magic: bytes) -> tuple[io.BufferedIOBase, str]:
    if magic.startswith(_GZIP):
        return gzip.GzipFile(fileobj=raw), "gzip"
    if magic == _ZSTD:
        return io.BufferedReader(_ZstdReader(raw), 1 << 20), "zstd"
    return raw, "none"


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn what the unpackers say about a damaged file into an error that names it."""
    todo = "fetch or pack the file again"
    try:
        yield
    except EOFError:
        raise DataError(
            "the packed file is cut off: it ends in the middle", where=name, todo=todo
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"the packed file is damaged ({error})", where=name, todo=todo) from None


class _ZstdReader(io.RawIOBase):
    """Unpacks zstd frames; unlike zstandard's own stream reader it notices a frame that is cut off."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        import zstandard

        self._raw, self._zstd = raw, zstandard
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._ready = memoryview(b"")
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Buffer, /) -> int:
        view = memoryview(target)
        while not self._ready:
            packed = self._frame.unused_data if self._frame.eof else b""
            packed = packed or self._raw.read(64 << 10)
            if not packed:
                if self._begun and not self._frame.eof:
                    raise EOFError
                return 0
            if self._frame.eof:
                self._frame = self._zstd.ZstdDecompressor().decompressobj()
            self._begun = True
            try:
                self._ready = memoryview(self._frame.decompress(packed))
            except self._zstd.ZstdError as error:
                raise zlib.error(str(error)) from None
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
