"""Stand-ins for texts in a chat template: they show where a template copies a text and write down
what it asks about it.

A stand-in can be written out, joined to other text, stripped of white space, and asked a few
questions with an assumed answer (`'</think>' in content`: no). Anything else a template might do
with it stops the attempt, so that what is learned from one rendering holds for every text that
gives the same answers.

One module although it is long: what is allowed of a template is one decision, read as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.environment import Template
from jinja2.runtime import Context

from sftplay.data.rendering.bounded import BoundedEnvironment
from sftplay.data.rendering.template import (
    NO_MORE,
    ChatTemplate,
    GenerationTag,
    Message,
    make_environment,
)

Op = tuple[str, str | None]  # strip, lstrip or rstrip, and what it takes off
Question = tuple[
    int, tuple[Op, ...], str, str | None
]  # which text, after which ops, the question, its argument

# Private-use characters around the numbers of a stand-in: OPS number OPEN index CLOSE
_OPEN, _CLOSE, _OPS = "\ue000", "\ue001", "\ue002"
STAND_IN = re.compile(f"(?:{_OPS}([0-9]+))?{_OPEN}([0-9]+){_CLOSE}")

# What a template may use and still be learned: nothing that reads a text that has become plain text
# already.
_FILTERS = {"trim", "tojson", "length", "count", "list", "first", "last", "default", "d"}
_TESTS = {
    *(
        "string",
        "defined",
        "undefined",
        "none",
        "mapping",
        "iterable",
        "sequence",
        "boolean",
        "number",
        "integer",
    ),
    *("float", "true", "false", "callable", "eq", "equalto", "==", "ne", "!="),
}
_CAPTURES = (
    nodes.Macro,
    nodes.AssignBlock,
    nodes.FilterBlock,
    nodes.Include,
    nodes.FromImport,
    nodes.Extends,
)


_JINJA_OWN = {
    "_loop_vars",
    "_block_vars",
}  # handed along with every call; seen by functions that ask for a context only


class InspectedError(BaseException):
    """The template does more with a text than copy it.

    Not an Exception, because Jinja's own tests swallow those.
    """


@dataclass
class Notes:
    """The notes of one attempt: questions with their assumed answers, and the kinds of stripping."""

    answers: dict[Question, bool] = field(default_factory=dict)
    ops: dict[tuple[Op, ...], int] = field(default_factory=dict)


class _Traced(str):
    """Text with stand-ins in it: can be written out and joined, nothing else."""

    _notes: Notes

    def __str__(self) -> str:
        return str.__str__(self)

    def __add__(self, other: str) -> _Traced:
        return _joined(self._notes, str.__str__(self) + str.__str__(other))

    def __radd__(self, other: str) -> _Traced:
        return _joined(self._notes, str.__str__(other) + str.__str__(self))


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise InspectedError


_ALLOWED = {
    "__str__",
    "__add__",
    "__new__",
    "__init__",
    "__class__",
    "__doc__",
    "__init_subclass__",
    "__subclasshook__",
}
_ALLOWED |= {"__getattribute__", "__setattr__", "__delattr__"}
for _name in set(dir(str)) - _ALLOWED:
    setattr(_Traced, _name, _refuse)


class _Slot(_Traced):
    """The stand-in for one text, stripped or not."""

    _index: int
    _ops: tuple[Op, ...]

    def __contains__(self, other: object) -> bool:
        return self._asked("in", other, assumed=False)

    def startswith(self, other: Any) -> bool:  # type: ignore[override]  # any further argument stops the attempt
        return self._asked("startswith", other, assumed=False)

    def endswith(self, other: Any) -> bool:  # type: ignore[override]
        return self._asked("endswith", other, assumed=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._asked("==", other, assumed=False)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = _refuse

    def __bool__(self) -> bool:
        return self._asked("bool", None, assumed=True)

    def strip(self, chars: str | None = None) -> _Slot:
        return self._stripped("strip", chars)

    def lstrip(self, chars: str | None = None) -> _Slot:
        return self._stripped("lstrip", chars)

    def rstrip(self, chars: str | None = None) -> _Slot:
        return self._stripped("rstrip", chars)

    def _asked(self, question: str, argument: Any, *, assumed: bool) -> bool:
        if argument is not None and type(argument) is not str:
            raise InspectedError
        self._notes.answers[self._index, self._ops, question, argument] = assumed
        return assumed

    def _stripped(self, method: str, chars: str | None) -> _Slot:
        if chars is not None and (type(chars) is not str or chars.strip()):
            raise InspectedError  # it would take off more than white space
        return stand_in(self._notes, self._index, (*self._ops, (method, chars)))


def stand_in(notes: Notes, index: int, ops: tuple[Op, ...] = ()) -> _Slot:
    """Return the stand-in for text number `index` after some stripping."""
    number = f"{_OPS}{notes.ops.setdefault(ops, len(notes.ops))}" if ops else ""
    slot = _Slot(number + plain_stand_in(index))
    slot._notes, slot._index, slot._ops = notes, index, ops
    return slot


def plain_stand_in(index: int) -> str:
    """Return how the stand-in for text number `index` looks in a rendering."""
    return f"{_OPEN}{index}{_CLOSE}"


def holds_stand_in(text: str) -> bool:
    """Tell whether a text has characters that mark stand-ins."""
    return any(character in text for character in (_OPEN, _CLOSE, _OPS))


def _joined(notes: Notes, text: str) -> _Traced:
    joined = _Traced(text)
    joined._notes = notes
    return joined


def answer(text: str, question: str, argument: str | None) -> bool:
    """Return the answer to a noted question for a real text."""
    if question == "bool":
        return bool(text)
    assert argument is not None
    if question == "in":
        return argument in text
    if question == "==":
        return text == argument
    return text.startswith(argument) if question == "startswith" else text.endswith(argument)


@dataclass(frozen=True)
class TracingTemplate(ChatTemplate):
    """A chat template that renders stand-ins; `InspectedError` where it does more with them than
    copy them.
    """

    notes: Notes = field(default_factory=Notes)

    def render(
        self, messages: Any, add_generation_prompt: bool, tools: Any = None, more: Any = NO_MORE
    ) -> str:
        stand_ins: list[Message] = [
            {**message, "content": stand_in(self.notes, index)}
            for index, message in enumerate(messages)
        ]
        return super().render(stand_ins, add_generation_prompt, tools, more)

    def _template(self) -> Template:
        return _compiled(self.source)


def can_be_traced(source: str) -> bool:
    """Tell whether what a rendering shows of a template holds for other texts too: no text that has
    become plain text (by `~`, in a captured block) is looked at any more.
    """
    tree = _environment().parse(source)
    written = {id(part) for output in tree.find_all(nodes.Output) for part in output.nodes}
    return not holds_stand_in(source) and all(
        _is_harmless(node, is_written=id(node) in written) for node in tree.find_all(nodes.Node)
    )


def _is_harmless(node: nodes.Node, *, is_written: bool) -> bool:
    checks: Mapping[type[nodes.Node], Callable[[Any], bool]] = {
        nodes.Filter: lambda it: it.name in _FILTERS,
        nodes.Test: lambda it: it.name in _TESTS,
        nodes.Concat: lambda _: is_written,
        nodes.For: lambda it: not it.recursive,
        nodes.Mod: lambda it: isinstance(it.right, nodes.Const) and isinstance(it.right.value, int),
        nodes.CallBlock: lambda it: (
            getattr(it.call.node, "identifier", None) == GenerationTag.identifier
        ),
        nodes.Compare: lambda it: (
            isinstance(it.expr, nodes.Const) or all(_is_open(operand) for operand in it.ops)
        ),
    }
    return not isinstance(node, _CAPTURES) and checks.get(type(node), lambda _: True)(node)


def _is_open(operand: nodes.Operand) -> bool:
    """Tell whether the operand asks the text: `x in "text"` would look at x without being seen; `x
    in ["a", "b"]` asks x.
    """
    return operand.op not in ("in", "notin") or isinstance(operand.expr, nodes.List | nodes.Tuple)


class _TracingEnvironment(BoundedEnvironment):
    """Stops the attempt where a text is handed to a function."""

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        handed = {name: value for name, value in kwargs.items() if name not in _JINJA_OWN}
        if _holds_traced(args) or _holds_traced(handed):
            raise InspectedError
        return super().call(__context, __obj, *args, **kwargs)


def _holds_traced(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_traced(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_traced(item) for item in value)
    return isinstance(value, _Traced)


@lru_cache(maxsize=1)
def _environment() -> BoundedEnvironment:
    environment = make_environment(_TracingEnvironment)
    tojson = environment.filters["tojson"]
    environment.filters["tojson"] = lambda value, *args, **kwargs: (
        _refuse() if _holds_traced(value) else tojson(value, *args, **kwargs)
    )
    return environment


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)
