"""Tasks: arguments in, one message and an exit code out."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.tasks import Task

from sftplay.boundary import Boundary
from sftplay.errors import MachineError, NotFoundError, UsageError
from sftplay.host.cli.paths import from_here
from sftplay.host.cli.repeatable import RepeatableTask
from sftplay.host.cli.words import WordsTask
from sftplay.host.system.checkout import CHECKOUT, PROJECT

Body = Callable[..., int | None]


def task(
    *,
    name: str | None = None,
    help: Mapping[str, str] | None = None,
    iterable: Iterable[str] = (),
    optional: Iterable[str] = (),
    words: str | None = None,
    short: bool = False,
    anywhere: bool = False,
    developer: bool = False,
) -> Callable[[Body], Task[Any]]:
    """An Invoke task whose body returns an exit code (None: 0) and may raise SftplayError.

    Args:
        optional: parameters whose option may stand without a value; the body then gets True.
        words: name of the parameter (a list) whose values may also be given as plain words after
            the task's name.
        short: options have one-letter forms too.
        anywhere: works where the person stands, with no project; all others change to its folder.
        developer: works on sftplay's own files, which only a checkout has.
    """

    def decorate(body: Body) -> Task[Any]:
        defaults = {key: one.default for key, one in inspect.signature(body).parameters.items()}

        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            with Boundary(name or body.__name__, passes=(Exit, ParseError)) as end:
                typed = {key: one for key, one in given.items() if one != defaults.get(key)}
                refuse_empty(typed, words)
                given = from_here(given, words)
                end.config = given.get("config")
                if not anywhere:
                    _enter_project(developer=developer)
                end.code = body(context, **given) or 0
            if end.code:
                raise Exit(code=end.code)

        lists = [*iterable, *([words] if words else [])]
        kind = WordsTask if words else RepeatableTask
        made: Task[Any] = kind(
            run,
            name=name,
            help=dict(help or {}),
            iterable=lists,
            optional=list(optional),
            auto_shortflags=short,
        )
        if isinstance(made, WordsTask):
            made.words = words or ""
        return made

    return decorate


def refuse_empty(given: Mapping[str, Any], words: str | None) -> None:
    """Refuse a value of no characters: a shell variable that is not set, which would otherwise
    count as an option that was not given.

    Args:
        words: the parameter whose values are plain words after the task's name.

    Raises:
        UsageError: an option or a word is empty (2).
    """
    for key, value in given.items():
        if any(isinstance(one, str) and not one.strip() for one in _values(value)):
            option = "--" + key.strip("_").replace("_", "-")
            raise UsageError(
                "a word of the command is empty" if key == words else f"{option} is empty",
                todo="is a shell variable unset? Give it a value, or leave it out",
            )


def _values(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _enter_project(*, developer: bool) -> None:
    if developer and not (CHECKOUT / "pyproject.toml").is_file():
        raise MachineError(
            "this task is for sftplay's developers; an installed sftplay has no tests or sources",
            todo="run it in a checkout",
        )
    if not (PROJECT / "tasks.py").is_file():
        raise NotFoundError(
            "no sftplay project here or in a folder above",
            where=str(PROJECT),
            todo="make one: sftplay init my-project, then cd my-project",
        )
    os.chdir(PROJECT)


def whole_number(flag: str, value: str | None) -> int | None:
    """The value of an option that takes a whole number; Invoke hands over text.

    Raises:
        UsageError: it is none (2).
    """
    if value is None or value.isdecimal():
        return None if value is None else int(value)
    raise UsageError(
        f"{flag} requires a whole number, got {value!r}", todo=f"for example: {flag} 7007"
    )


def port_number(flag: str, value: str | None) -> int | None:
    """The value of an option that takes a port.

    Raises:
        UsageError: it is none (2).
    """
    port = whole_number(flag, value)
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"a port is 1 to 65535, got {port}", todo=f"for example: {flag} 7007")
    return port


def only(words: Sequence[str]) -> str | None:
    """The word of a task that takes one at most.

    Raises:
        UsageError: there are more (2).
    """
    if len(words) > 1:
        raise UsageError(f"one name at most, got {len(words)}: {' '.join(words)}")
    return words[0] if words else None
