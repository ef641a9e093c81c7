"""Tasks that take any number of words (`inv runs.compare A B C`): Invoke itself knows positional arguments by number only.

Its parser asks one question, "is `value` None?", to find out whether an argument takes a further word and whether it lacks one.
Here the answer to the first is always yes and to the second never, so it depends on who asks.
"""

from __future__ import annotations

import sys
from typing import Any

from invoke.parser.argument import Argument

from sftplay.host.cli.repeatable import RepeatableTask

_FEEDERS = ("handle", "see_positional_arg")  # of invoke.parser.ParseMachine: where a word looks for its place


class Words(Argument):
    """A list that takes every word which follows its task, and may be empty."""

    @property
    def value(self) -> Any:
        """The words; None to the parser that has one more."""
        frame = sys._getframe(1)
        for _ in range(3):  # a comprehension and a property lie between, or nothing
            if frame.f_code.co_name in _FEEDERS:
                return None
            if frame.f_back is None:
                break
            frame = frame.f_back
        return self._value

    @value.setter
    def value(self, word: str) -> None:
        self.set_value(word)

    def set_value(self, value: Any, cast: bool = True) -> None:
        """Take one more word."""
        self.raw_value = value
        self._value: list[Any] = [*self._value, value]


class WordsTask(RepeatableTask):
    """A task with such a list. `words` names its parameter."""

    words: str

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """The command line, the list as `Words`."""
        arguments: list[Argument] = super().get_arguments(ignore_unknown_help)
        return [self._as_words(one) if one.name == self.words else one for one in arguments]

    def _as_words(self, plain: Argument) -> Words:
        return Words(names=plain.names, kind=list, help=plain.help, positional=True, attr_name=plain.attr_name)
