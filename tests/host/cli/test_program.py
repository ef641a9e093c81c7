"""The program: a closed pipe is no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = ("-m sftplay.host.cli", "-m invoke")
# A reader that is gone before the first line: `| head` closes its end while lines still come.
_GONE = "exec 3> >(:); sleep 0.3; {0} >&3; exit $?"


def run(checkout: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("words", ["--list", "train --help"])
def test_a_closed_pipe_is_no_traceback(checkout: Path, program: str, words: str) -> None:
    end = run(checkout, _GONE.format(f"{sys.executable} {program} {words}"))
    assert end.returncode == 141, end.stderr
    assert end.stderr == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_full_disk_is_said(checkout: Path, program: str) -> None:
    end = run(checkout, f"{sys.executable} {program} --list > /dev/full")
    assert end.returncode == 74 and "the output can't be written" in end.stderr, end.stderr
    assert len(end.stderr.splitlines()) == 2
