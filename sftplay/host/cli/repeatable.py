"""A task whose options can be read more than once: Invoke's own forgets their help after the first
time.
"""

from __future__ import annotations

from typing import Any

from invoke.parser.argument import Argument
from invoke.tasks import Task


class RepeatableTask(Task[Any]):
    """An Invoke task that keeps its help texts; the generated documentation reads them again."""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the command line's arguments."""
        texts = dict(self.help)
        arguments: list[Argument] = super().get_arguments(ignore_unknown_help)
        self.help = texts
        return arguments
