"""Lines of `inv doctor` on a terminal."""

from __future__ import annotations

import re
import sys

import pytest

from sftplay.host.doctor.findings import MachineFinding
from sftplay.host.doctor.report import lines
from sftplay.host.doctor.stack_choices import StackChoice


def test_only_the_marks_are_colored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain blue text on black can't be read."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    levels = ("ok", "note", "warning", "error")
    findings = [MachineFinding(level, "disk", "56 GB free", "do that") for level in levels]
    shown = lines(findings, [StackChoice("train", "local", "cpu", "no GPU")])
    colored = [part for line in shown for part in re.findall(r"\x1b\[([\d;]+)m(.*?)\x1b\[0m", line)]
    assert colored == [("1;32", "✓"), ("1;34", "·"), ("1;33", "!"), ("1;31", "✗")]
