"""A stage with its command line as one typed object, from the task that was typed to the process
that runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sftplay.stages import Option, Stage


@dataclass(frozen=True)
class StageCall:
    """A stage, and the words that follow it.

    Attributes:
        config: config file; run: name of the run; overrides: `key=value` each.
        options: the stage's own options by key, each with its parsed value. One that holds its
            default is left out, so
            that equal calls compare equal.
    """

    stage: Stage
    config: str | None = None
    run: str | None = None
    overrides: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        defaults = {option.key: _default(option) for option in self.stage.options}
        unknown = [key for key in self.options if key not in defaults]
        if unknown:
            raise TypeError(f"stage {self.stage.name} has no option {unknown[0]}")
        given = {
            key: self.options[key]
            for key in defaults
            if self.options.get(key, defaults[key]) != defaults[key]
        }
        object.__setattr__(self, "options", given)

    @property
    def argv(self) -> list[str]:
        """The command line after `python -m sftplay`, the same in every runner; `cli.parse_call`
        reads it back.
        """
        words = [self.stage.name, *_words("--config", self.config), *_words("--run", self.run)]
        for override in self.overrides:
            words += _words("--set", override)
        for option in self.stage.options:
            value = self.options.get(option.key)
            if value is not None:
                words.append(option.name if option.kind == "flag" else f"{option.name}={value}")
        return words

    @property
    def all_options(self) -> dict[str, Any]:
        """Every option by key, with its default where none was given."""
        return {
            option.key: self.options.get(option.key, _default(option))
            for option in self.stage.options
        }

    @property
    def packages(self) -> str:
        """Return what the stage imports besides its stack, with these options."""
        given = (one.packages for one in self.stage.options if self.options.get(one.key))
        return next(filter(None, given), self.stage.packages)

    def with_options(self, **options: Any) -> StageCall:
        """Return this call with other values of some options; a default removes one."""
        return replace(self, options={**self.options, **options})


def _default(option: Option) -> Any:
    return False if option.kind == "flag" else option.default


def _words(flag: str, value: str | None) -> list[str]:
    """Return two words, or one where the value could be taken for an option."""
    if value is None:
        return []
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]
