"""Invoke's program, with our messages and exit codes for a wrong command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from invoke.collection import Collection
from invoke.config import Config
from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from sftplay import __version__, console
from sftplay.errors import StorageError
from sftplay.host.cli import usage
from sftplay.host.cli.words import asks_help_for, spell_out
from sftplay.host.protocol.hub import hide_token
from sftplay.stops import raise_swallowed_again


class MenuConfig(Config):
    """Invoke's defaults alone: its files in /etc, the home and the project set nothing that our
    tasks use, and a broken one would stop every task.
    """

    def load_system(self, merge: bool = True) -> None:
        """Load nothing."""

    def load_user(self, merge: bool = True) -> None:
        """Load nothing."""

    def load_project(self, merge: bool = True) -> None:
        """Load nothing."""


class Menu(Program):
    """Invoke's program with our message and exit code for a wrong command line: 2, as everywhere
    else.
    """

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        """Run a task; a Ctrl-C before it has begun ends with 130, and not with Invoke's 1."""
        try:
            super().run(argv, exit)
        except SystemExit as end:
            if isinstance(end.__context__, KeyboardInterrupt):
                console.error("stopped")
                raise SystemExit(130) from None
            raise

    def parse_core_args(self) -> None:
        self._or_usage(super().parse_core_args)

    def parse_tasks(self) -> None:
        """Parse the task and its options; a request for help replaces all of them."""
        asked = asks_help_for(self.core.unparsed)
        if asked:
            self.core.unparsed = []
            self.core[0].args.help.value = asked
        self.core.unparsed = spell_out(self.core.unparsed, self.collection)
        self._or_usage(super().parse_tasks)

    def parse_cleanup(self) -> None:
        """Print the help or the list that was asked for."""
        with _output_handed_over(), console.writing_results():
            self._or_usage(super().parse_cleanup)

    def execute(self) -> None:
        """Run the task."""
        with _output_handed_over():
            super().execute()

    def _or_usage(self, parse: Callable[[], None]) -> None:
        try:
            parse()
        except ParseError as error:
            collection = getattr(self, "collection", None)
            console.failure(usage.explain(error, collection.task_names if collection else ()))
            raise Exit(code=2) from None


@contextmanager
def _output_handed_over() -> Iterator[None]:
    """Hand over what is printed on stdout here, where a closed pipe can still be caught: Python's own
    last flush would end in 120.

    Raises:
        SystemExit: its reader is gone (141), or its disk is full (74).
    """
    try:
        try:
            yield
        finally:
            console.flush_results()
    except BrokenPipeError:  # inv --list | head
        console.drop_stdout()
        raise SystemExit(141) from None
    except StorageError as problem:  # inv --list > /dev/full
        console.failure(problem)
        raise SystemExit(problem.code) from None
    finally:
        console.settle_stderr()


def adopt() -> None:
    """Make Invoke's own program a Menu, where that is what reads tasks.py (`inv`): the same
    messages and exit codes, and no token in what it starts.
    """
    raise_swallowed_again()
    console.open_streams()
    hide_token(os.environ)
    invoke_main = sys.modules.get("invoke.main")
    if invoke_main is not None:
        invoke_main.program.__class__ = Menu


def main(argv: Sequence[str], namespace: Collection) -> int:
    """Run the task that `argv` names (its first word is the program). Returns the exit code."""
    console.open_streams()
    hide_token(os.environ)
    name = Path(argv[0]).name
    binary = name if name in ("sftplay", "inv") else "tasks.py"
    menu = Menu(
        name="sftplay",
        binary=binary,
        version=__version__,
        namespace=namespace,
        config_class=MenuConfig,
    )
    try:
        with _output_handed_over():  # what is printed before a task is known, too: --version
            menu.run(list(argv))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
