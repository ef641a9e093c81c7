"""Text from strangers on a terminal, at each place where lines leave."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sftplay import console
from sftplay.terminal_text import harmless
from tests.box import Box

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\x9bc\x7f\u202ereversed\u2066\u2028d"
OBEYED = [char for char in HOSTILE if not char.isascii() or ord(char) < 32 or char == "\x7f"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_controls_become_escapes_and_all_else_stays() -> None:
    shown = harmless(HOSTILE)
    assert not set(shown) & set(OBEYED)
    assert shown.startswith("a\\x1b[2J\\x1b]0;title\\x07b\\x9bc\\x7f\\u202ereversed")
    plain = "tab\tline\n你好 🦊 👩‍🔬 à é שלום"  # the scientist is joined by U+200D
    assert harmless(plain) is plain


def test_only_colors_pass_where_colors_are_our_own() -> None:
    assert harmless("\x1b[34mblue\x1b[0m\x1b[2J", colors=True) == "\x1b[34mblue\x1b[0m\\x1b[2J"


@pytest.mark.parametrize("say", [console.info, console.warning, console.error, console.result])
def test_the_console_gives_a_terminal_no_orders(
    say: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    say(HOSTILE)  # type: ignore[operator]
    assert "reversed" in terminal.getvalue()
    assert not set(terminal.getvalue()) & set(OBEYED)


def test_a_result_in_a_pipe_keeps_its_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    console.result(HOSTILE)
    assert capsys.readouterr().out == HOSTILE + "\n"


def test_data_gives_the_terminal_no_orders(tmp_path: Path, box: Box) -> None:
    """In keys, values, headers, file names and settings: what the data stage says of them."""
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    row = {"question": f"q {HOSTILE}", "answer": HOSTILE, HOSTILE: HOSTILE}
    (raw / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps([HOSTILE]) + "\n")
    (raw / f"{HOSTILE.replace('/', '')}.csv").write_text(f"question,answer,{HOSTILE[:12]}\n1,2,3\n")
    (tmp_path / "demo.yaml").write_text(f"model: {{name: {json.dumps(HOSTILE)}}}\n")
    rejects = ["--set", "data.max_reject_share=1"]
    for argv in (
        ["process", *rejects],
        ["process", "--set", f"data.raw={HOSTILE}"],
        ["fetch"],
        ["render"],
    ):
        ran = box.run(*argv, "--config", "demo.yaml", cwd=tmp_path)
        assert "Traceback" not in ran.err
        assert "\\x1b" in ran.err or argv == ["render"], (argv, ran.err)
        assert not (set(ran.err) | set(ran.out)) & set(OBEYED), argv
