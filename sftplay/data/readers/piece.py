"""A reader's unit of work: some rows of one file, parsed or not, small enough to travel to a
worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sftplay.data.readers.strict_json import parse_row
from sftplay.data.rejects import BadRowError, Reject, reject
from sftplay.errors import DataError

PIECE_BYTES = 1 << 20
PIECE_ROWS = 2000
MAX_ROW_BYTES = 16 << 20
TOO_LONG = "a row of over 16 MiB"


@dataclass(frozen=True)
class Piece:
    """Rows of one file, in one of three states.

    Attributes:
        used: bytes of the raw file that this piece took (progress).
        line: line number of the first line of `lines`, from 1.
        lines: JSON Lines text, cut at line ends.
        offset: where `lines` begins in the (unpacked) file.
        texts: (line number, JSON text of one row).
        values: (line or row number, parsed row).
        rejects: rows that could not even be cut out.
        note: something about the file, for the report.
        split: train, val or test, where the rows stand under such a key.
    """

    used: int
    line: int = 1
    lines: bytes = b""
    offset: int = 0
    texts: tuple[tuple[int, bytes], ...] = ()
    values: tuple[tuple[int, Any], ...] = ()
    rejects: tuple[Reject, ...] = ()
    note: str = ""
    split: str = ""

    def parsed(self, rejects: list[Reject], file: str) -> Iterator[tuple[int, bytes | None, Any]]:
        """Yield (line number, text, row) of each row that parses; the others are added to
        `rejects`. Blank lines are no rows.

        Raises:
            DataError: bytes that are not UTF-8, with their offset (65).
        """
        rejects.extend(self.rejects)
        for line, value in self.values:
            yield line, None, value
        texts = self.texts if not self.lines else enumerate(self.lines.split(b"\n"), self.line)
        for line, text in texts:
            row = self.parse(line, text, rejects, file)
            if row is not None:
                yield line, text, row

    def parse(self, line: int, text: bytes, rejects: list[Reject], file: str) -> Any:
        """Return one row of the piece; None where it was added to `rejects`, or is blank.

        Raises:
            DataError: bytes that are not UTF-8, with their offset (65).
        """
        try:
            row = parse_row(text)
        except BadRowError as bad:
            if text.strip():
                rejects.append(reject(line, bad, text))
            return None
        except UnicodeDecodeError as error:
            raise self._not_utf8(text, line, error, file) from None
        if row is None:
            rejects.append(reject(line, BadRowError("not an object", "it is null"), text))
        return row

    def _not_utf8(self, text: bytes, line: int, error: UnicodeDecodeError, file: str) -> DataError:
        before = self.lines.split(b"\n")[: line - self.line] if self.lines else []
        offset = (
            self.offset + sum(len(row) + 1 for row in before) + error.start if self.lines else None
        )
        return not_utf8(text[error.start], offset, f"{file}:{line}")


def not_utf8(byte: int, offset: int | None, where: str) -> DataError:
    """Return the error for a byte that no UTF-8 text has at that place."""
    place = f" at offset {offset}" if offset is not None else ""
    return DataError(
        f"not UTF-8: byte 0x{byte:02x}{place}",
        where=where,
        todo="if the file is in Windows' or a Latin encoding, save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    )
