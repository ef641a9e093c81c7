"""JSON Lines: one row a line, read in blocks that are cut at line feeds and nothing else (U+2028
stays in its string).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from sftplay.data.readers.piece import MAX_ROW_BYTES, PIECE_BYTES, TOO_LONG, Piece
from sftplay.data.readers.stream import Source, refuse_cr_only
from sftplay.data.rejects import KEPT_BYTES, Reject
from sftplay.errors import DataError

# `[{` or `[[`, but no message: a list of messages or a pair may be a row
_ARRAY_OF_ROWS = re.compile(rb"\[\s*(?:\[|\{(?!\s*\"(?:role|from)\"))")


def read(source: Source) -> Iterator[Piece]:
    """Yield pieces of about 1 MiB. A line of over 16 MiB is a reject, and only its beginning is
    ever in memory.

    Raises:
        DataError: line ends are CR, or the file is one JSON array (65).
    """
    refuse_cr_only(source.head, source.name)
    refuse_array(source)
    line, offset, rest, ready = 1, source.offset, b"", b""
    while block := ready or source.read(PIECE_BYTES):
        ready = b""
        first, last = block.find(b"\n"), block.rfind(b"\n")
        if len(rest) + (first if first >= 0 else len(block)) > MAX_ROW_BYTES:
            skipped, ready = (
                (first + 1, block[first + 1 :]) if first >= 0 else _skip_line(source, len(block))
            )
            yield Piece(
                source.used(),
                rejects=(_too_long(line, rest + block[:KEPT_BYTES], len(rest) + skipped - 1),),
            )
            line, offset, rest = line + 1, offset + len(rest) + skipped, b""
        elif last < 0:
            rest += block
        else:
            lines, rest = rest + block[:last], block[last + 1 :]
            yield Piece(source.used(), line=line, lines=lines, offset=offset)
            line, offset = line + lines.count(b"\n") + 1, offset + len(lines) + 1
    if rest:
        yield Piece(source.used(), line=line, lines=rest, offset=offset)


def refuse_array(source: Source) -> None:
    """Raise DataError (65) for a JSON array in a file whose name promises one row a line."""
    text = source.head.lstrip()
    if not _ARRAY_OF_ROWS.match(text):
        return
    first, _, rest = text.partition(b"\n")
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        one_a_line = False
    else:  # a row may be a list of lists or objects, but not alone in its file
        one_a_line = bool(rest.strip())
    if not one_a_line:
        raise DataError(
            "this is one JSON array, not one row a line (JSON Lines)",
            where=f"{source.name}:1:{len(source.head) - len(text) + 1}",
            todo="rename it so that it ends in .json",
        )


def _skip_line(source: Source, skipped: int) -> tuple[int, bytes]:
    """Read to the end of the line: (bytes skipped, line feed included; what was read of the next
    line).
    """
    while block := source.read(PIECE_BYTES):
        cut = block.find(b"\n")
        if cut >= 0:
            return skipped + cut + 1, block[cut + 1 :]
        skipped += len(block)
    return skipped + 1, b""


def _too_long(line: int, head: bytes, size: int) -> Reject:
    kept = head[:KEPT_BYTES].decode("utf-8", "replace")
    return Reject(
        line, TOO_LONG, f"{size} bytes; only its beginning is kept here", None, orjson.dumps(kept)
    )
