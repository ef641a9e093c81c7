"""Questions to the person at the terminal.

A caller finds out first whether there is anybody to ask.
"""

from __future__ import annotations

import sys

from sftplay import console
from sftplay.terminal_text import harmless


def can_ask() -> bool:
    """Return whether questions can be seen and answered: both ends are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_text(question: str, default: str = "") -> str:
    """One line; Enter or the end of input gives the default."""
    print(f"? {harmless(question)} ", end="", file=sys.stderr, flush=True)  # noqa: T201 - a question stays on its line
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print(file=sys.stderr)  # noqa: T201 - the end of input leaves the cursor behind the question
    return answer.strip() or default


def ask_yes_no(question: str, *, default: bool) -> bool:
    """Yes or no; asked again until it is one of them, and Enter gives the default."""
    while True:
        answer = ask_text(
            f"{question} [{'Y/n' if default else 'y/N'}]", "y" if default else "n"
        ).lower()
        if answer in ("y", "yes", "n", "no"):
            return answer.startswith("y")
        console.info("please answer y or n, or Enter for the one in capitals")
