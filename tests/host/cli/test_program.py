"""The program: a closed pipe is no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_closed_pipe_is_no_traceback(checkout: Path) -> None:
    command = f"{sys.executable} -m sftplay.host.cli --list | true; exit ${{PIPESTATUS[0]}}"
    end = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in end.stderr
    assert end.returncode in (0, 141)
