"""Rendering a row without parsing it: its texts are carried over, escaped as they are, into the plan of the chat template.

JSON escapes a text character by character, so the escaped form of texts put together is their escaped forms put together.
It holds for lines that sftplay wrote itself (`process` and `style`, by orjson): their texts are valid, and escaped in the one way
in which orjson would escape them again. Inside a text a quote always has a backslash before it, so `,"` stands where a key follows
another and nowhere else: their number tells whether there is more to a row than plain turns. A row for which any of this is
not plain is left to the full rendering, which gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson

from sftplay.data.plans import Pattern, Plan, Planner

_HEAD, _TEXT, _NEXT, _ID, _END = b'{"messages":[{"role":"', b'","content":"', b'"},{"role":"', b'"}],"id":"', b'"}'
_SHAPES = 1024  # kept in mind, those without a plan included


@dataclass(frozen=True)
class Splice:
    """The plan of one shape for escaped texts.

    Attributes:
        form: the line from behind the id on, a %-format; pick: takes the texts in it out of all;
            pattern: finds the texts and the id in a line that ends with a line feed.
        turns: trained turns; has_system: whether a system turn is among the messages.
        ends: how often the end-of-turn token stands in the constant text; in a line of more, a text spells it.
        trimmed: texts that the template strips: those with anything like white space at an end are not for the splice.
        needles: what no line may hold, because the template would do something else then.
        unequal: (number of a text, what it must not be).
    """

    form: bytes
    turns: int
    has_system: bool
    eot: bytes
    ends: int
    trimmed: tuple[int, ...]
    needles: tuple[bytes, ...]
    unequal: tuple[tuple[int, bytes], ...]
    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    pattern: re.Pattern[bytes]

    def body(self, line: bytes, texts: list[bytes]) -> bytes | None:
        """The rendered line from behind the id on; None where the row has to be rendered in full."""
        for needle in self.needles:
            if needle in line:
                return None
        for number, other in self.unequal:
            if texts[number] == other:
                return None
        for number in self.trimmed:
            if _may_be_stripped(texts[number]):
                return None
        body = self.form % self.pick(texts)
        return body if body.count(self.eot) == self.ends else None


Spliced = tuple[
    bytes, bytes, Splice
]  # id as it stands in the line, escaped; the rendered line from behind the id on; by what


class Splicer:
    """The splices of a planner, by the roles of the messages; shapes are learned when they first come."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._splices: dict[tuple[bytes, ...], Splice | None] = {}

    def splice(self, line: bytes) -> Spliced | None:
        """Render a line that sftplay wrote, its line feed taken off; None where that has to be done in full."""
        turns = line.split(_TEXT)
        last, found, row_id = turns[-1].rpartition(_ID)
        if not found or not line.startswith(_HEAD) or line.count(b',"') != len(turns) or row_id[-2:] != _END:
            return None
        roles, texts = [turns[0][len(_HEAD) :]], []
        for turn in turns[1:-1]:
            text, found, role = turn.rpartition(_NEXT)
            if not found:
                return None
            texts.append(text)
            roles.append(role)
        texts.append(last)
        splice = self._of(tuple(roles))
        if splice is None:
            return None
        body = splice.body(line, texts)
        return None if body is None else (row_id[:-2], body, splice)

    def splice_all(self, lines: bytes) -> tuple[list[bytes], list[bytes], Splice] | None:
        """Render whole lines at once, if they all have the roles of the first one: ids and bodies; None where they are to be
        rendered one by one.
        """
        first = lines[: lines.find(b"\n")].split(_TEXT)
        roles = (first[0][len(_HEAD) :], *(turn.rpartition(_NEXT)[2] for turn in first[1:-1]))
        splice = self._of(roles) if self.splice(lines[: lines.find(b"\n")]) else None
        if splice is None or any(needle in lines for needle in splice.needles):
            return None
        rows = splice.pattern.findall(lines)
        count = lines.count(b"\n")
        if len(rows) != count or lines.count(b',"') != count * (len(roles) + 1) or not lines.endswith(b"\n"):
            return None
        *texts, ids = zip(*rows, strict=True)
        if any(other in texts[number] for number, other in splice.unequal):
            return None
        if any(map(_may_be_stripped, chain.from_iterable(texts[number] for number in splice.trimmed))):
            return None
        bodies = list(map(splice.form.__mod__, zip(*splice.pick(texts), strict=True)))
        if b"".join(bodies).count(splice.eot) != count * splice.ends:
            return None
        return list(ids), bodies, splice

    def _of(self, roles: tuple[bytes, ...]) -> Splice | None:
        if roles not in self._splices:
            if len(self._splices) >= _SHAPES or any(b"\\" in role for role in roles):
                return None
            names = tuple(role.decode("utf-8") for role in roles)
            plan = self._planner.plan(names)
            self._splices[roles] = splice_of(plan, names) if plan else None
        return self._splices[roles]


@lru_cache(maxsize=4)
def splicer_for(planner: Planner) -> Splicer:
    """The splicer of this process for a planner."""
    return Splicer(planner)


def splice_of(plan: Plan, roles: tuple[str, ...]) -> Splice | None:
    """A plan for escaped texts; None where it has something that can't be told from them, or gives several rows."""
    eot = _escaped(plan.eot)
    if len(plan.rows) != 1 or _overlaps_itself(eot):
        return None
    ((pairs, tail),) = plan.rows
    if not all(_ends_once(target, plan.eot) for _, target in pairs) or (tail.numbers and not any(tail.parts)):
        return None
    numbers = {len(roles) + place: text for place, (text, _) in enumerate(plan.derived)}
    patterns = [*(pattern for pair in pairs for pattern in pair), tail]
    texts = [numbers.get(number, number) for pattern in patterns for number in pattern.numbers]
    guards = [
        (numbers.get(number, number), asked, what or "", expected) for number, asked, what, expected in plan.guards
    ]
    if not texts or any(expected is not (question == "bool") for _, question, _, expected in guards):
        return None
    form = _form(pairs, tail)
    return Splice(
        form=form,
        turns=len(pairs),
        has_system="system" in roles,
        eot=eot,
        ends=(form % ((b"\x00",) * len(texts))).count(eot),
        trimmed=tuple(dict.fromkeys(text for text, _ in plan.derived)),
        needles=tuple(dict.fromkeys(_escaped(what) for _, asked, what, _ in guards if asked not in ("bool", "=="))),
        pick=itemgetter(*texts) if len(texts) > 1 else lambda values: (values[texts[0]],),
        pattern=_pattern_of(roles),
        unequal=tuple((text, _escaped(what)) for text, asked, what, _ in guards if asked in ("bool", "==")),
    )


def _pattern_of(roles: tuple[str, ...]) -> re.Pattern[bytes]:
    """A text runs to a quote without a backslash before it; where it ends in a backslash itself, the pattern finds that out."""
    names = [re.escape(_escaped(role)) for role in roles]
    text = rb'([^"]*(?:(?<=\\)"[^"]*)*)'
    turns = [name + re.escape(_TEXT) + text for name in names]
    return re.compile(
        b"^" + re.escape(_HEAD) + re.escape(_NEXT).join(turns) + re.escape(_ID) + text + re.escape(_END) + b"\n", re.M
    )


def _form(pairs: Iterable[tuple[Pattern, Pattern]], tail: Pattern) -> bytes:
    made = [b'"input":"%b","target":"%b"' % (_pattern(given), _pattern(target)) for given, target in pairs]
    row = made[0] if len(made) == 1 else b'"turns":[{' + b"},{".join(made) + b"}]"
    end = b',"tail":"%b"' % _pattern(tail) if any(tail.parts) else b""
    return row + end + b"}\n"


def _pattern(pattern: Pattern) -> bytes:
    return b"%b".join(_escaped(part).replace(b"%", b"%%") for part in pattern.parts)


def _escaped(text: str) -> bytes:
    """A text as it stands between the quotes of JSON."""
    return orjson.dumps(text)[1:-1]


def _ends_once(target: Pattern, eot: str) -> bool:
    return target.parts[-1].endswith(eot) and sum(part.count(eot) for part in target.parts) == 1


def _overlaps_itself(text: bytes) -> bool:
    """Whether two of it can share characters, so that counting them would not be exact."""
    return not text or any(text[:size] == text[-size:] for size in range(1, len(text)))


def _may_be_stripped(text: bytes) -> bool:
    """Whether white space may stand at an end: a blank, an escape of any kind, or something beyond ASCII."""
    first, last = text[:1], text[-1:]
    escaped = first == b"\\" or text[-2:-1] == b"\\" or text[-6:-4] == b"\\u"
    return first <= b" " or last <= b" " or escaped or not (first.isascii() and last.isascii())
