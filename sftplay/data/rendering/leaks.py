"""Equal rows in different splits: evaluation would ask what training answered. Known by a hash of
the rendered text.

`process` puts equal rows into one split, but people edit rows, and a style that replaces the system
turn (or a template that leaves something out) can make two rows equal. So every rendered row is
looked at again, in 16 bytes a row.
"""

from __future__ import annotations

from typing import IO

import orjson

from sftplay.data.findings import Finding, Findings
from sftplay.data.rendering.block import RenderedBlock
from sftplay.data.split import SeenRows

LEAKED = Finding(
    "leaked_rows",
    "warning",
    "equal to a row of an earlier split once rendered: set aside in rejects.jsonl, so that no split is tested on another's rows",
    "make the rows again (inv process), or take one of the two out",
)
REPEATED = Finding(
    "repeated_rows",
    "warning",
    "equal to an earlier row of its split once rendered: trained twice",
    LEAKED.todo,
)
SAME_ID = Finding(
    "same_id",
    "warning",
    "an id that another row has too",
    "ids tell rows apart: make the rows again (inv process)",
)


class Leaks:
    """Watches rendered rows go by, split after split. `count`: rows taken out of the last block."""

    def __init__(self) -> None:
        self._before, self._own, self._ids = SeenRows(), SeenRows(), SeenRows()
        self.count = 0

    def next_split(self) -> None:
        """Begin another split."""
        self._before.take(self._own)
        self._own = SeenRows()

    def without(self, done: RenderedBlock, rejects: IO[bytes], findings: Findings) -> bytes:
        """Return the lines of a block but for those that stand in an earlier split; these go to
        `rejects`.
        """
        leaked = set(self._before.known(done.keys))
        self.count = len(leaked)
        repeated, same = self._own.duplicates(done.keys), self._ids.duplicates(done.ids)
        if not (leaked or repeated or same):
            return done.out
        lines = done.lines()
        for number in sorted(leaked):
            findings.add(LEAKED, _place(done, lines, number))
            row = orjson.Fragment(lines[number].strip())
            entry = {
                "file": done.file,
                "line": done.numbers[number],
                "reason": LEAKED.what,
                "row": row,
            }
            rejects.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        for number in repeated:
            findings.add(REPEATED, _place(done, lines, number))
        for number in same:
            findings.add(SAME_ID, _place(done, lines, number))
        return b"".join(line for number, line in enumerate(lines) if number not in leaked)


def _place(done: RenderedBlock, lines: list[bytes], number: int) -> str:
    return f"{done.file}:{done.numbers[number]} ({orjson.loads(lines[number])['id']})"
