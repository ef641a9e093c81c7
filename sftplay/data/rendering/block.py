"""The result of rendering a block of rows: its lines, their keys, counts and findings."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import orjson

from sftplay.data.findings import Findings
from sftplay.data.rendering.cut import Cut

_64_BITS = (1 << 64) - 1


@dataclass
class RenderedBlock:
    """The result of one block: lines to write, lines set aside, counts, findings.

    Attributes:
        out: the lines, joined; sizes: their lengths.
        keys: of each line, a hash of its text without the id: equal rows have equal ones.
        set_aside: rows that were left out because the config asks for it.
        ids: of each line, a hash of its id. numbers: the line in `file` where its row stands.
    """

    file: str
    size: int
    rows: int = 0
    read: int = 0
    turns: int = 0
    rejected: int = 0
    set_aside: int = 0
    without_system: int = 0
    out: bytes = b""
    sizes: array[int] = field(default_factory=lambda: array("L"))
    keys: array[int] = field(default_factory=lambda: array("Q"))
    ids: array[int] = field(default_factory=lambda: array("Q"))
    numbers: array[int] = field(default_factory=lambda: array("L"))
    rejects: bytes = b""
    findings: Findings = field(default_factory=Findings)

    def lines(self) -> list[bytes]:
        """Return the lines one by one."""
        ends = list(accumulate(self.sizes))
        return [self.out[end - size : end] for end, size in zip(ends, self.sizes, strict=True)]


class RenderedLines:
    """Lines of a block while it is rendered: ids as they stand between the quotes, what follows
    each, and where the row stood.
    """

    def __init__(self, result: RenderedBlock) -> None:
        self.result = result
        self.ids: list[bytes] = []
        self.bodies: list[bytes] = []
        self.numbers: list[int] = []

    def add(self, row_id: bytes, body: bytes, number: int) -> None:
        """Add a line."""
        self.ids.append(row_id)
        self.bodies.append(body)
        self.numbers.append(number)

    def add_cut(self, row_id: str, cut: Cut, number: int) -> None:
        """Add a row that was cut into pairs."""
        row: dict[str, Any] = {}
        if len(cut.pairs) == 1:
            row["input"], row["target"] = cut.pairs[0]
        else:
            row["turns"] = [{"input": given, "target": target} for given, target in cut.pairs]
        if cut.tail:
            row["tail"] = cut.tail
        self.add(
            orjson.dumps(row_id)[1:-1],
            orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)[1:],
            number,
        )

    def lines(self) -> list[bytes]:
        """Return the lines one by one."""
        return [b'{"id":"%b",%b' % line for line in zip(self.ids, self.bodies, strict=True)]

    def done(self) -> RenderedBlock:
        """Return the result with all lines in it. Their keys are this run's: Python's hash of bytes
        (SipHash, 64 bits) has one seed for a process and the workers forked from it.
        """
        result, lines = self.result, self.lines()
        result.out, result.sizes = b"".join(lines), array("L", map(len, lines))
        result.keys = array("Q", [hash(body) & _64_BITS for body in self.bodies])
        result.ids = array("Q", [hash(row_id) & _64_BITS for row_id in self.ids])
        result.numbers = array("L", self.numbers)
        return result
