"""Tables: whole in a pipe, and on a terminal of any width each name in one piece."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.ui.tables import fit

CHECKOUT = Path(__file__).parents[3]
TABLE = """
from rich.text import Text
from sftplay.host.ui.tables import print_table
print_table(
    ("run", "state", "model", "loss", "size"),
    [["pirate-speech-run-1", Text("interrupted", style="yellow"), "SmolLM2-135M-Instruct", "1.234", "1.3 GB"]],
    ("loss", "size"), short=("model",), least=("size", "loss"),
)
"""


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (90, {"run": 19, "state": 11, "model": 21, "loss": 5, "size": 6}),
        (65, {"run": 19, "state": 11, "model": 16, "loss": 5, "size": 6}),
        (60, {"run": 19, "state": 11, "model": 19, "loss": 5}),
        (46, {"run": 19, "state": 11, "model": 12}),
        (
            20,
            {"run": 19, "state": 11, "model": 12},
        ),  # no room: the terminal breaks the line, not we the name
    ],
)
def test_cells_are_cut_and_columns_left_out_only_as_far_as_needed(
    room: int, kept: dict[str, int]
) -> None:
    columns, widths = ("run", "state", "model", "loss", "size"), (19, 11, 21, 5, 6)
    assert fit(columns, widths, room, short=("model",), least=("size", "loss")) == kept


def shown(columns: int | None) -> tuple[str, str]:
    """Print a table (stdout, stderr) on a terminal of so many columns, or into a pipe."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "NO_COLOR": "1", "TERM": "xterm"}
    command = [sys.executable, "-c", TABLE]
    if columns is None:
        end = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return end.stdout, end.stderr
    ours, theirs = pty.openpty()
    end = subprocess.run(
        command,
        env={**env, "COLUMNS": str(columns)},
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    os.close(ours)
    return text, end.stderr


def test_a_narrow_terminal_keeps_names_whole_and_says_what_it_leaves_out() -> None:
    text, said = shown(60)
    assert text.splitlines()[2].split() == [
        "pirate-speech-run-1",
        "interrupted",
        "SmolLM2-135M-Instr…",
        "1.234",
    ]
    assert max(map(len, text.splitlines())) <= 60
    assert "hidden: terminal too narrow: size" in said


def test_a_pipe_gets_every_column_whole() -> None:
    text, said = shown(None)
    assert text.splitlines()[2].split("  ")[-1].strip() == "1.3 GB"
    assert "SmolLM2-135M-Instruct" in text
    assert said == ""
