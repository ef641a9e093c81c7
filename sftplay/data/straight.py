"""Raw rows of named texts converted by carrying their texts over, escaped as they are: no text is written as JSON a second time.

A line is for this way where its texts, written as JSON by orjson, would be the very bytes that it holds. That is seen by its
length: it parses to an object with nothing but texts, it has the separators of the first line with these keys, and it is as long
as those and its texts with one backslash for each character that has to be escaped. JSON has no shorter way to write them, so
there is no other escape in the line, no key that was lost to a second one, and no blank more. Every other line takes the usual
way, which gives the same; so does one with reasoning or odd characters, which are to be reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from sftplay.data.formats.plan import FIELDS, Plan
from sftplay.data.formats.reasoning import MARK
from sftplay.data.odd import has_odd

_SHAPES = 64  # orders of keys known at a time
_ALSO_ESCAPED = (
    '\t"\\'  # by one backslash, as line feeds are; lines with others (carriage returns …) take the usual way
)
_JOINT = rb"\n\n"  # between alpaca's instruction and its input
_USER = b'[{"role":"user","content":"%b"},{"role":"assistant","content":"%b"}]'
_SYSTEM = b'[{"role":"system","content":"%b"},{"role":"user","content":"%b"},{"role":"assistant","content":"%b"}]'


Row = tuple[
    bytes, int, int
]  # its messages as JSON, characters of the other turns, and of the answer (a tuple: there are millions)


@dataclass(frozen=True)
class _Shape:
    """Lines with these keys in this order. `parts`: what stands before, between and behind their texts; `size`: of all parts.

    The numbers say which text is which; -1 where there is none. `others`: keys that nobody reads.
    """

    parts: tuple[bytes, ...]
    size: int
    user: int
    assistant: int
    extra: int
    system: int
    others: tuple[str, ...]

    def row(self, line: bytes, texts: list[str]) -> Row | None:
        """Convert a line with these texts; None where it is for the usual way."""
        whole = "".join(texts)
        is_ascii = whole.isascii()
        size = len(whole) if is_ascii else len(whole.encode("utf-8"))
        if not is_ascii and has_odd(whole):
            return None
        escaped = whole.count("\n")
        if escaped != line.count(b"\\"):
            escaped += sum(map(whole.count, _ALSO_ESCAPED))
        if len(line) != self.size + size + escaped:
            return None
        cells = self._cells(line)
        return self._converted(texts, cells) if cells else None

    def _cells(self, line: bytes) -> list[bytes]:
        """The texts as they stand in the line; none where its parts are not where they should be."""
        if not line.startswith(self.parts[0]) or not line.endswith(self.parts[-1]):
            return []
        cells, at = [], len(self.parts[0])
        for part in self.parts[1:-1]:
            end = line.find(part, at)
            if end < 0:
                return []
            cells.append(line[at:end])
            at = end + len(part)
        return [*cells, line[at : -len(self.parts[-1])]]

    def _converted(self, texts: list[str], cells: list[bytes]) -> Row | None:
        ask, answer, ask_cell = texts[self.user], texts[self.assistant], cells[self.user]
        if not ask or not answer or ask.isspace() or answer.isspace():
            return None
        asked = len(ask)
        if self.extra >= 0 and texts[self.extra]:
            if texts[self.extra].isspace():
                return None
            asked += 2 + len(texts[self.extra])
            ask_cell += _JOINT + cells[self.extra]
        if self.system >= 0 and texts[self.system] and not texts[self.system].isspace():
            content = _SYSTEM % (cells[self.system], ask_cell, cells[self.assistant])
            return content, asked + len(texts[self.system]), len(answer)
        return _USER % (ask_cell, cells[self.assistant]), asked, len(answer)


class Straight:
    """Converts the lines of a piece, as far as they are for this way.

    Args:
        lines: the piece; what stands in none of its lines need not be looked for in each.
    """

    def __init__(self, plan: Plan, lines: bytes) -> None:
        self._plan = plan
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}
        self._rare = [
            rare for rare in (MARK, b"\x7f") if rare in lines
        ]  # reasoning, and a control character JSON lets pass

    def row(self, line: bytes, dropped: dict[str, int]) -> Row | None:
        """Convert a line; None where it is for the usual way. `dropped` counts the keys that are not kept."""
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if type(row) is not dict:
            return None
        keys = tuple(row)
        shape = self._shapes[keys] if keys in self._shapes else self._learn(keys, line)
        if shape is None or (self._rare and any(rare in line for rare in self._rare)):
            return None
        try:
            made = shape.row(line, list(row.values()))
        except TypeError:  # a value that is no text
            return None
        if made is not None and shape.others:
            for key in shape.others:
                dropped[key] = dropped.get(key, 0) + 1
        return made

    def _learn(self, keys: tuple[str, ...], line: bytes) -> _Shape | None:
        if len(self._shapes) >= _SHAPES:
            return None
        self._shapes[keys] = _shape(self._plan, keys, line)
        return self._shapes[keys]


def straight_for(plan: Plan, lines: bytes) -> Straight | None:
    """What converts the lines of a piece; None where its plan wants more than two texts of a row."""
    return Straight(plan, lines) if lines and plan.shape == FIELDS and not plan.tools else None


def _shape(plan: Plan, keys: tuple[str, ...], line: bytes) -> _Shape | None:
    if plan.user not in keys or plan.assistant not in keys or plan.user == plan.assistant:
        return None
    first, second, *_ = names = [orjson.dumps(key) for key in keys]
    colon = b": " if line.startswith(b"{" + first + b": ") else b":"
    comma = b'", ' if b'", ' + second in line else b'",'
    between = (comma + name + colon + b'"' for name in names[1:])
    parts = (b"{" + first + colon + b'"', *between, b'"}')
    user, assistant, extra, system = (
        keys.index(key) if key and key in keys else -1 for key in (plan.user, plan.assistant, plan.extra, plan.system)
    )
    others = tuple(key for key in keys if key not in plan.known)
    return _Shape(parts, sum(map(len, parts)), user, assistant, extra, system, others)
