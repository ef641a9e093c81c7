"""Cutting without Jinja: what a template makes of a shape of conversation (its roles, in order),
learned once.

A plan is constant text, places for the messages' texts, and guards: questions about the texts with
the answers that the plan holds for. A row that meets the guards is put together from the plan; any
other one is rendered in full. Both give the same cuts, and `render` compares the two on rows all
along its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sftplay.data.rendering.cut import Cut, Turns, cut_rows
from sftplay.data.rendering.template import ChatTemplate
from sftplay.data.rendering.tracing import (
    STAND_IN,
    InspectedError,
    Notes,
    Op,
    TracingTemplate,
    answer,
    can_be_traced,
    holds_stand_in,
    plain_stand_in,
)
from sftplay.errors import DataError

SHAPES = 256  # shapes learned for one template; rows of further ones are rendered in full


class Pattern:
    """Constant text with the numbers of values between its parts: always one part more than
    numbers.
    """

    def __init__(self, parts: Sequence[str], numbers: Sequence[int]) -> None:
        self.parts, self.numbers = tuple(parts), tuple(numbers)
        self._form = (
            "%s".join(part.replace("%", "%%") for part in parts) if numbers else self.parts[0]
        )
        self._picked = (
            itemgetter(*numbers) if numbers else None
        )  # one value, or a tuple of several: what % takes

    def fill(self, values: list[str]) -> str:
        """Return the text with the values in it."""
        return self._form % self._picked(values) if self._picked else self._form


@dataclass(frozen=True)
class CutPlan:
    """The cut of every conversation of one shape.

    Attributes:
        eot: the end-of-turn token; a row whose target spells it is left to the full rendering.
        rows: for each row that the conversation gives, how to make its pairs and its tail, and what
            the template leaves out.
        derived: (number of the text, what is stripped off) for values other than the texts themselves.
        guards: (number of the value, question, argument, answer).
    """

    eot: str
    rows: tuple[
        tuple[tuple[tuple[Pattern, Pattern], ...], Pattern, tuple[tuple[int, str], ...]], ...
    ]
    derived: tuple[tuple[int, tuple[Op, ...]], ...]
    guards: tuple[tuple[int, str, str | None, bool], ...]

    def cuts(self, texts: list[str]) -> list[Cut] | None:
        """Return the rows of one conversation; None where it has to be rendered in full."""
        values = (
            texts
            if not self.derived
            else [*texts, *(_strip(texts[index], ops) for index, ops in self.derived)]
        )
        for number, question, argument, expected in self.guards:
            if answer(values[number], question, argument) is not expected:
                return None
        cuts = []
        for pairs, tail, left_out in self.rows:
            filled = tuple([(given.fill(values), target.fill(values)) for given, target in pairs])
            for _, target in filled:
                if target.find(self.eot) != len(target) - len(self.eot):
                    return None
            lost = tuple([part for part in left_out if texts[part[0]].strip()]) if left_out else ()
            cuts.append(Cut(filled, tail.fill(values), lost=lost))
        return cuts


@dataclass(eq=False)
class Planner:
    """The plans for one template, end-of-turn token and choice of turns; shapes are learned when
    they first come.
    """

    template: ChatTemplate
    eot: str
    turns: Turns
    traceable: bool
    plans: dict[tuple[str, ...], CutPlan | None] = field(default_factory=dict)

    def cuts(self, messages: Sequence[dict[str, Any]]) -> list[Cut] | None:
        """Return the rows of one conversation; None where it has to be rendered in full."""
        if not self.traceable:
            return None
        for message in messages:
            if len(message) != 2 or message.get("content") is None:
                return None  # something else than role and text: tool calls, reasoning
        plan = self.plan(tuple([message["role"] for message in messages]))
        return plan.cuts([message["content"] for message in messages]) if plan else None

    def plan(self, roles: tuple[str, ...]) -> CutPlan | None:
        """Return the plan for conversations of plain texts with these roles; None where they have
        to be rendered in full.
        """
        if not self.traceable:
            return None
        if roles not in self.plans and len(self.plans) < SHAPES:
            self.plans[roles] = self._learn(roles)
        return self.plans.get(roles)

    def _learn(self, roles: tuple[str, ...]) -> CutPlan | None:
        notes = Notes()
        template = TracingTemplate(
            self.template.source, self.template.named, self.template.date, notes
        )
        messages = [
            {"role": role, "content": plain_stand_in(index)} for index, role in enumerate(roles)
        ]
        try:
            cuts = list(cut_rows(template, self.eot, messages, self.turns))
        except (InspectedError, DataError):
            return None
        if any(cut.rewritten or cut.changed for cut in cuts) or holds_stand_in("".join(roles)):
            return None
        return _plan(self.eot, cuts, notes, len(roles))


def planner_for(template: ChatTemplate, eot: str, turns: Turns) -> Planner:
    """Return the planner of this process for a template."""
    return _planner(
        template.source, tuple(sorted(template.named.items())), template.date, eot, turns
    )


@lru_cache(maxsize=4)
def _planner(
    source: str, named: tuple[tuple[str, str], ...], date: str | None, eot: str, turns: Turns
) -> Planner:
    traceable = can_be_traced(source) and eot.strip() == eot
    return Planner(ChatTemplate(source, dict(named), date), eot, turns, traceable)


def _plan(eot: str, cuts: list[Cut], notes: Notes, texts: int) -> CutPlan:
    derived: dict[tuple[int, tuple[Op, ...]], int] = {}
    ops = {number: each for each, number in notes.ops.items()}

    def number_of(index: int, done: tuple[Op, ...]) -> int:
        return derived.setdefault((index, done), texts + len(derived)) if done else index

    def pattern(text: str) -> Pattern:
        parts, numbers, end = [], [], 0
        for found in STAND_IN.finditer(text):
            parts.append(text[end : found.start()])
            numbers.append(number_of(int(found[2]), ops[int(found[1])] if found[1] else ()))
            end = found.end()
        return Pattern([*parts, text[end:]], numbers)

    rows = tuple(
        (
            tuple((pattern(given), pattern(target)) for given, target in cut.pairs),
            pattern(cut.tail),
            cut.lost,
        )
        for cut in cuts
    )
    guards = tuple(
        (number_of(index, done), question, argument, assumed)
        for (index, done, question, argument), assumed in notes.answers.items()
    )
    return CutPlan(eot, rows, tuple(derived), guards)


def _strip(text: str, ops: tuple[Op, ...]) -> str:
    for method, chars in ops:
        text = getattr(text, method)(chars)
    return text
