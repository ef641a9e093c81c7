"""Files of rows read in blocks of whole lines, which can be worked on one by one, by several
processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftplay.files import explain_os_error

BLOCK = 1 << 20  # bytes, up to the end of a line


@dataclass(frozen=True)
class Block:
    """Whole lines of one file; `first` is the number of the first one, from 1."""

    file: str
    first: int
    lines: bytes


def blocks(path: Path) -> Iterator[Block]:
    """Yield a file in blocks of whole lines, about 1 MiB each."""
    try:
        with open(path, "rb") as source:
            first = 1
            while lines := source.read(BLOCK):
                lines += source.readline()
                yield Block(str(path), first, lines)
                first += lines.count(b"\n")
    except OSError as error:
        raise explain_os_error(error, path) from error
