"""A stage with its command line: the same words in every runner, on records and on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sftplay.stages import Stage


@dataclass(frozen=True)
class Call:
    """A stage with its command line.

    Attributes:
        options: the stage's own options, as argv.
        argv_override: a whole command line from a record, instead of one made from the parts.
    """

    stage: Stage
    config: str | None = None
    run: str | None = None
    overrides: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    argv_override: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """`STAGE --config FILE …`: what stands after `python -m sftplay` in every runner."""
        if self.argv_override:
            return list(self.argv_override)
        words = [self.stage.name]
        for flag, value in (("--config", self.config), ("--run", self.run)):
            words += [] if value is None else [flag, value]
        for override in self.overrides:
            words += ["--set", override]
        return [*words, *self.options]


def same_training(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two command lines ask for the same training: begun, resumed or handed over."""
    return asked_for(one) == asked_for(other)


def asked_for(argv: Sequence[str]) -> list[str]:
    """A command line without what the launcher adds, and without --resume."""
    return [word for word in argv if word != "--resume" and not word.startswith(("--handed-over-from=", "--attempt="))]
