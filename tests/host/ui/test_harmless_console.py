"""Rich's console with text from strangers."""

from __future__ import annotations

import io

from rich.table import Table
from rich.text import Text

from sftplay.host.ui.harmless_console import HarmlessConsole


def test_tables_and_texts_give_the_terminal_no_orders() -> None:
    out = io.StringIO()
    console = HarmlessConsole(file=out, force_terminal=True, width=80, color_system="standard")
    table = Table("run\x1b]0;x\x07")
    table.add_row(Text("a long cell \x9b2J\u202e", style="red"))
    console.print(table, Text("text\x1b[2J"), "plain\x1b[8m")
    shown = out.getvalue()
    assert "text\\x1b" in shown and "plain\\x1b" in shown and "long cell" in shown
    assert "\x1b[31m" in shown  # rich's own red
    assert not {"\x07", "\x9b", "\u202e"} & set(shown) and "\x1b[2J" not in shown
