"""`inv lint`: every check of style, types, layers, spelling and links, each with a tool of the dev
environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sftplay.errors import UsageError
from sftplay.host.dev.tools import run_tool
from sftplay.host.system.checkout import CHECKOUT

_SOURCES = ("sftplay", "tests", "bench", "tasks.py")


@dataclass(frozen=True)
class Check:
    """A tool's command line.

    Attributes:
        fix: words that replace `only_check` if the tool shall repair what it can.
        sources: append the folders with Python sources.
    """

    argv: tuple[str, ...]
    only_check: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()
    sources: bool = False

    def command(self, *, fix: bool) -> list[str]:
        """Return the words to run."""
        sources = [name for name in _SOURCES if (CHECKOUT / name).exists()] if self.sources else []
        return [*self.argv, *(self.fix if fix else self.only_check), *sources]


CHECKS: Mapping[str, Check] = {
    "style": Check(("ruff", "check"), fix=("--fix",), sources=True),
    "format": Check(("ruff", "format"), only_check=("--check",), sources=True),
    "types": Check(("mypy", "sftplay", "tasks.py")),
    "layers": Check(("lint-imports",)),
    "spelling": Check(("codespell",), fix=("--write-changes",)),
    "links": Check(("md-dead-link-check",)),  # between files only; no server is asked
}


def run(names: Sequence[str] = (), *, fix: bool = False) -> int:
    """Run the named checks (default: all), the rest too if one fails; return the first failure's
    exit code.

    Args:
        fix: repair what the tools can repair; else nothing is written.

    Raises:
        UsageError: there is no such check (2).
    """
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise UsageError(f"unknown check: {', '.join(unknown)}", todo=f"any of {', '.join(CHECKS)}")
    codes = []
    for name in names or CHECKS:
        program, *words = CHECKS[name].command(fix=fix)
        codes.append(run_tool(program, *words))
    return next((code for code in codes if code), 0)
