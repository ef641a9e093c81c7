"""Raw rows of named texts converted on a straight way: by the keys of a row it is known which texts are carried where.

Mostly they are carried as they are escaped, and no text is written as JSON a second time. That is for lines whose texts, written
as JSON by orjson, would be the very bytes that they hold, which is seen by a line's length: it parses to an object with nothing but
texts, it has the separators of the first line with these keys, and it is as long as those and its texts with one backslash for each
character that has to be escaped. JSON has no shorter way to write them, so there is no other escape in the line, no key that was
lost to a second one, and no blank more. Rows with reasoning or odd characters, which are to be reported, and whatever is no plain
row take the usual way; all ways give the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from sftplay.data.formats.plan import FIELDS, Plan
from sftplay.data.formats.reasoning import MARK, MARK_TEXT
from sftplay.data.odd import has_odd
from sftplay.data.strict import has_keys_only

_SHAPES = 64  # orders of keys known at a time
_ALSO_ESCAPED = (
    '\t"\\'  # by one backslash, as line feeds are; lines with others (carriage returns …) take the usual way
)
_CONTROLS = bytes({*range(32), 127} - {10})
_BLANK = re.compile(rb"(?: |\\n|\\t)*").fullmatch
_JOINT = rb"\n\n"  # between alpaca's instruction and its input
_USER = b'[{"role":"user","content":"%b"},{"role":"assistant","content":"%b"}]'
_SYSTEM = b'[{"role":"system","content":"%b"},{"role":"user","content":"%b"},{"role":"assistant","content":"%b"}]'


Row = tuple[
    bytes, int, int
]  # its messages as JSON, characters of the other turns, and of the answer (a tuple: there are millions)


@dataclass(frozen=True)
class _Shape:
    """Lines with these keys in this order. `parts`: what stands before, between and behind their texts; `size`: of all parts.

    The numbers say which text is which; -1 where there is none. `others`: keys that nobody reads. `has_more`: than two texts.
    """

    parts: tuple[bytes, ...]
    size: int
    user: int
    assistant: int
    extra: int
    system: int
    others: tuple[str, ...]
    has_more: bool
    pattern: re.Pattern[bytes]

    def row(self, line: bytes, texts: list[str]) -> Row | None:
        """Convert a line with these texts; None where it is for the usual way.

        Raises:
            TypeError: something else than a text among them.
        """
        whole = "".join(texts)
        ask, answer = texts[self.user], texts[self.assistant]
        if not ask or not answer or ask.isspace() or answer.isspace():
            return None
        is_ascii = whole.isascii()
        size = len(whole) if is_ascii else len(whole.encode("utf-8"))
        escaped = whole.count("\n")
        if escaped != line.count(b"\\"):
            escaped += sum(map(whole.count, _ALSO_ESCAPED))
        cells = self._carried(line) if len(line) == self.size + size + escaped else None
        if cells is None:
            cells = _written(line, texts, whole)
        elif not is_ascii and has_odd(whole):
            return None
        if cells is None or self.has_more:
            return self._with_more(texts, cells) if cells else None
        return _USER % (cells[self.user], cells[self.assistant]), len(ask), len(answer)

    def _carried(self, line: bytes) -> list[bytes] | None:
        """The texts as they stand in the line; None where its parts are not where they should be."""
        if not line.startswith(self.parts[0]) or not line.endswith(self.parts[-1]):
            return None
        cells, at = [], len(self.parts[0])
        for part in self.parts[1:-1]:
            end = line.find(part, at)
            if end < 0:
                return None
            cells.append(line[at:end])
            at = end + len(part)
        cells.append(line[at : -len(self.parts[-1])])
        return cells

    def _with_more(self, texts: list[str], cells: list[bytes]) -> Row | None:
        asked, ask_cell, answer = len(texts[self.user]), cells[self.user], cells[self.assistant]
        if self.extra >= 0 and texts[self.extra]:
            if texts[self.extra].isspace():
                return None
            asked += 2 + len(texts[self.extra])
            ask_cell += _JOINT + cells[self.extra]
        if self.system >= 0 and texts[self.system] and not texts[self.system].isspace():
            asked += len(texts[self.system])
            return _SYSTEM % (cells[self.system], ask_cell, answer), asked, len(texts[self.assistant])
        return _USER % (ask_cell, answer), asked, len(texts[self.assistant])


def _written(line: bytes, texts: list[str], whole: str) -> list[bytes] | None:
    """The texts written as JSON, for lines that escape them in another way; None where the row is for the usual way."""
    if "\0" in whole or "\x7f" in whole or MARK_TEXT in whole or has_odd(whole) or not has_keys_only(line, len(texts)):
        return None
    return [orjson.dumps(text)[1:-1] for text in texts]


class Straight:
    """Converts the lines of a piece, as far as they are for this way.

    Args:
        lines: the piece; what stands in none of its lines need not be looked for in each.
    """

    def __init__(self, plan: Plan, lines: bytes) -> None:
        self._plan = plan
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}
        # reasoning, and a control character that JSON lets pass
        self._rare = [rare for rare in (MARK, b"\x7f") if rare in lines]

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

    def rows(self, lines: list[bytes], dropped: dict[str, int]) -> list[Row] | None:
        """Convert lines at once, if they all have the keys of the first one and nothing but plain texts in ASCII.

        None where they are to be converted one by one. No text is decoded: that they are valid JSON is seen by what they hold.
        """
        joined = b"\n".join(lines) + b"\n"
        if not lines or self._rare or not joined.isascii() or self.row(lines[0], {}) is None:
            return None
        shape = self._shapes[tuple(orjson.loads(lines[0]))]
        if shape is None or shape.has_more or len(joined.translate(None, _CONTROLS)) != len(joined):
            return None
        backslashes = b"\\\\" in joined
        single = joined.replace(b"\\\\", b"") if backslashes else joined
        if b'\\\\"' in joined or single.count(b"\\") != sum(map(single.count, (b"\\n", b'\\"', b"\\t"))):
            return None
        cells = shape.pattern.findall(joined)
        if len(cells) != len(lines):
            return None
        asks, answers = ([texts[number] for texts in cells] for number in (shape.user, shape.assistant))
        if any(map(_BLANK, asks)) or any(map(_BLANK, answers)):
            return None
        for key in shape.others:
            dropped[key] = dropped.get(key, 0) + len(lines)
        asked, answered = (_characters(column, backslashes=backslashes) for column in (asks, answers))
        return list(zip(map(_USER.__mod__, zip(asks, answers, strict=True)), asked, answered, strict=True))

    def _learn(self, keys: tuple[str, ...], line: bytes) -> _Shape | None:
        if len(self._shapes) >= _SHAPES:
            return None
        self._shapes[keys] = _shape(self._plan, keys, line)
        return self._shapes[keys]


def _characters(cells: list[bytes], *, backslashes: bool) -> list[int]:
    """How many characters the texts have, which are escaped in two bytes each where they are."""
    if backslashes:
        return [len(cell) - cell.count(b"\\") + cell.count(b"\\\\") for cell in cells]
    return [len(cell) - cell.count(b"\\") for cell in cells]


def straight_for(plan: Plan, lines: bytes) -> Straight | None:
    """What converts the lines of a piece; None where its plan wants more than two texts of a row."""
    return Straight(plan, lines) if lines and plan.shape == FIELDS and not plan.tools else None


def _pattern_of(parts: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Finds the texts of a line in which every quote with a backslash before it belongs to a text."""
    text = rb'([^"]*(?:(?<=\\)"[^"]*)*)'
    return re.compile(b"^" + text.join(map(re.escape, parts)) + b"\n", re.MULTILINE)


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
    return _Shape(
        parts, sum(map(len, parts)), user, assistant, extra, system, others, max(extra, system) >= 0, _pattern_of(parts)
    )
