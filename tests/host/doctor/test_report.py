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


def test_lines_are_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    said = "no NVIDIA GPU (no /dev/nvidia*, no /dev/dxg): models run on the CPU"
    shown = lines([MachineFinding("note", "gpu", said, f"do {said}")], [StackChoice("train")])
    wrapped = [part for line in shown for part in line.split("\n")]
    assert all(len(part) <= 40 for part in wrapped)
    assert " ".join(" ".join(wrapped).split()).startswith(f"· gpu {said} next: do {said}")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert f"· gpu       {said}" in lines([MachineFinding("note", "gpu", said)], [StackChoice("a")])
