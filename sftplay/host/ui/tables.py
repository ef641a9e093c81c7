"""Tables on stdout: whole where they go into a file or a pipe, fitted to a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from sftplay import console
from sftplay.host.ui.harmless_console import HarmlessConsole
from sftplay.terminal_text import harmless

_FITTED = 60  # rows
_SHORTEST = 12  # characters that a shortened cell keeps
_GAP = 2

Rows = Sequence[Sequence[str | Text]]


def print_table(
    columns: Sequence[str],
    rows: Rows,
    numbers: Sequence[str] = (),
    *,
    short: Sequence[str] = (),
    least: Sequence[str] = (),
) -> None:
    """A table on stdout. Where it goes into a file or a pipe, and where it is long, one whole line
    a row.

    Args:
        short, least: for a table of one line a row on a terminal too: the columns whose cells may
        be cut short with `…` where it is
            narrow, and those that may be left out, first the least important. Without them long
            cells are folded.
    """
    columns, rows = list(map(harmless, columns)), [list(map(_harmless_cell, row)) for row in rows]
    if not sys.stdout.isatty():
        widths = _widths(columns, rows)
        _print_lines(columns, rows, numbers, dict(zip(columns, widths, strict=True)))
    elif short or least:
        widths_of = fit(
            columns,
            _widths(columns, rows),
            shutil.get_terminal_size().columns,
            short=short,
            least=least,
        )
        _print_lines(columns, rows, numbers, widths_of)
        left_out = [column for column in columns if column not in widths_of]
        if left_out:
            console.info(
                f"hidden: terminal too narrow: {', '.join(left_out)}; `| cat` shows all columns"
            )
    elif len(rows) > _FITTED:
        _print_lines(
            columns, rows, numbers, dict(zip(columns, _widths(columns, rows), strict=True))
        )
    else:
        _print_folded(columns, rows, numbers)


def fit(
    columns: Sequence[str],
    widths: Sequence[int],
    room: int,
    *,
    short: Sequence[str],
    least: Sequence[str],
) -> dict[str, int]:
    """The columns that have room, each with its width. Pure.

    Columns of `least` go in their order until the rest fits with the cells of `short` cut. What
    can't fit even so is as wide as it is.
    """
    kept = dict(zip(columns, widths, strict=True))
    going = [column for column in least if column in kept]
    while True:
        over = sum(kept.values()) + _GAP * (len(kept) - 1) - room
        spare = {column: max(0, kept[column] - _SHORTEST) for column in short if column in kept}
        if over <= sum(spare.values()) or not going:
            break
        del kept[going.pop(0)]
    for column, most in spare.items():
        less = min(most, max(0, over))
        kept[column] -= less
        over -= less
    return kept


def _widths(columns: Sequence[str], rows: Rows) -> list[int]:
    lines = [columns, *rows]
    return [max(len(str(line[place])) for line in lines) for place in range(len(columns))]


def _harmless_cell(cell: str | Text) -> str | Text:
    return harmless(cell) if isinstance(cell, str) else Text(harmless(cell.plain), cell.style)


def _print_lines(
    columns: Sequence[str], rows: Rows, numbers: Sequence[str], widths: dict[str, int]
) -> None:
    """The table as lines: rich's own takes seconds for hundreds of rows."""
    out = HarmlessConsole(highlight=False, soft_wrap=True) if sys.stdout.isatty() else None
    for line in (columns, ["─" * widths.get(column, 0) for column in columns], *rows):
        named = [
            (column, cell) for column, cell in zip(columns, line, strict=True) if column in widths
        ]
        cells = [
            _cell(str(cell), widths[column], right=column in numbers) for column, cell in named
        ]
        if out is None:
            console.result((" " * _GAP).join(cells).rstrip())
        else:
            styled = [
                Text(text, cell.style if isinstance(cell, Text) else "")
                for text, (_, cell) in zip(cells, named, strict=True)
            ]
            joined = Text(" " * _GAP).join(styled)
            joined.rstrip()
            out.print(joined)


def _cell(text: str, width: int, *, right: bool) -> str:
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return cut.rjust(width) if right else cut.ljust(width)


def _print_folded(columns: Sequence[str], rows: Rows, numbers: Sequence[str]) -> None:
    out = HarmlessConsole(highlight=False)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    for column in columns:
        right = column in numbers
        table.add_column(
            column, justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    out.print(table)
