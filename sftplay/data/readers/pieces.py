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


def read_pieces(file: RawFile, facts: dict[str, str]) -> Iterator[Piece]:
    """Yield pieces of a file, in order. `facts` gets what the report says about it: kind,
    compression, encoding.

    Raises:
        DataError: the file as a whole is unreadable: encoding, packing, structure (65).
    """
    with open_source(file.path, file.name, text=file.kind != "parquet") as source:
        kind = kind_of_content(file, source)
        facts.update(kind=kind, compression=source.compression, encoding=source.encoding)
        if kind == "parquet":
            yield from parquet.read(source, file.path)
        elif not source.head.strip():
            return
        elif kind in ("csv", "tsv"):
            yield from table.read(source, tabs=kind == "tsv")
        elif kind == "json":
            yield from document.read(source)
        else:
            yield from lines.read(source)


def kind_of_content(file: RawFile, source: Source) -> str:
    """Return the kind: `json` files with an object a line are JSON Lines; everything else is what
    its suffix says.
    """
    return "lines" if file.kind == "json" and _OBJECT_A_LINE.match(source.head) else file.kind
