"""Lines for people: what is said reaches the log where there is one, and a log that can't be
written stops nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftplay import console
from sftplay.errors import StorageError


def test_what_is_said_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(console.LOG_VARIABLE, str(tmp_path / "train.log"))
    console.failure(StorageError("the disk is full", where="x", todo="make room"))
    assert "error: x: the disk is full" in (tmp_path / "train.log").read_text()


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0%"),
        (1e-9, "<0.1%"),
        (0.00099, "<0.1%"),
        (0.001, "0.1%"),
        (0.4, "40.0%"),
        (0.9995, ">99.9%"),
        (1, "100.0%"),
    ],
)
def test_a_share_never_looks_like_none_or_all(share: float, text: str) -> None:
    assert console.share_text(share) == text


@pytest.mark.parametrize("kind", ["full disk", "pipe", "link", "folder"])
def test_a_log_that_cant_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = Path("/dev/full") if kind == "full disk" else tmp_path / "train.log"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "folder":
            path.mkdir()
    monkeypatch.setenv(console.LOG_VARIABLE, str(path))
    console.info("step 1")
    assert "step 1" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_lines_are_wrapped_between_words_for_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFTPLAY_TERMINAL", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    words = "one two three four five six seven eight nine ten eleven twelve"
    console.info(f"{words}\n{words}")
    lines = capsys.readouterr().err.splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].startswith("· one") and all(line.startswith("  ") for line in lines[1:])
    assert " ".join(line.strip("· ") for line in lines) == f"{words} {words}"


def test_only_the_mark_is_colored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text keeps the terminal's own color, which reads on its background."""
    monkeypatch.setenv("SFTPLAY_TERMINAL", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console.warning("mind the gap")
    assert capsys.readouterr().err == "\x1b[1;33m!\x1b[0m mind the gap\n"
