"""The table of readers, and the decision which one a file needs: its suffix says the kind, its
first bytes may correct it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sftplay.data.readers import document, lines, parquet, table
from sftplay.data.readers.piece import Piece
from sftplay.data.readers.sources import RawFile
from sftplay.data.readers.stream import Source, open_source

# A line that is a whole object, and another object in the next line: JSON Lines, whatever the file
# is called.
_OBJECT_A_LINE = re.compile(rb"\s*\{[^\n]*\}[ \t\r]*\n\s*\{")
# An object over several lines, and the next one behind it, as `jq` prints them.
_OPENS_ALONE = re.compile(rb"\s*\{[ \t\r]*\n")
_NEXT_OBJECT = re.compile(rb"\n\}[ \t\r]*\n\s*\{")


def read_pieces(file: RawFile, facts: dict[str, str]) -> Iterator[Piece]:
    """Yield pieces of a file, in order. `facts` gets what the report says about it: kind,
    compression, encoding.

    Raises:
        DataError: the file as a whole is unreadable: encoding, packing, structure (65).
    """
    with open_source(file.path, file.name, file.kind) as source:
        kind = kind_of_content(file, source)
        facts.update(kind=kind, compression=source.compression, encoding=source.encoding)
        if kind == "parquet":
            yield from parquet.read(source, file.path)
        elif kind == "arrow":
            yield from parquet.read_arrow(source, file.path)
        elif not source.head.strip():
            return
        elif kind in ("csv", "tsv"):
            yield from table.read(source, tabs=kind == "tsv")
        elif kind == "json":
            yield from document.read(source, several=_is_printed(source.head))
        else:
            yield from lines.read(source)


def kind_of_content(file: RawFile, source: Source) -> str:
    """Return the kind: what the suffix says, but JSON Lines where each line is an object, and JSON
    where an object takes several lines.
    """
    if file.kind == "json" and _OBJECT_A_LINE.match(source.head):
        return "lines"
    return "json" if file.kind == "lines" and _OPENS_ALONE.match(source.head) else file.kind


def _is_printed(head: bytes) -> bool:
    """Tell whether a text is objects over several lines, one after the other."""
    return head.lstrip().startswith(b"{") and _NEXT_OBJECT.search(head) is not None


def splits_inside(file: RawFile) -> set[str]:
    """Return the splits that a JSON document has under its top-level keys.

    Raises:
        DataError: it can't be read (65).
    """
    if file.kind not in ("json", "lines"):
        return set()
    with open_source(file.path, file.name, file.kind) as source:
        is_object = source.head.lstrip().startswith(b"{")
        if not is_object or kind_of_content(file, source) != "json" or _is_printed(source.head):
            return set()
        return document.split_keys(source)
