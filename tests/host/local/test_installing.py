"""uv's output as one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sftplay.host.local.installing import Installing, install
from sftplay.host.system.uv import find_uv

LINES = [
    "Resolved 4 packages in 3ms",
    "Downloading torch (100.0MiB)",
    "Downloading triton (50.0MiB)",
    "   Building rouge-score==0.1.2",
    " Downloaded triton",
    "      Built rouge-score==0.1.2",
    " Downloaded torch",
    "Prepared 4 packages in 9.00s",
    "Installed 4 packages in 248ms",
    " + torch==2.13.0",
]


def test_one_line_says_what_is_downloaded() -> None:
    shown: list[str] = []
    told = Installing(shown.append)
    for line in LINES:
        told.feed(line)
    without_time = [line.rpartition(" (")[0] for line in shown]
    assert without_time == [
        "installing: packages",
        "installing: 0 B of 104.9 MB, torch",
        "installing: 0 B of 157.3 MB, torch, triton",
        "installing: 0 B of 157.3 MB, torch, triton, rouge-score",
        "installing: 52.4 MB of 157.3 MB, torch, rouge-score",
        "installing: 52.4 MB of 157.3 MB, torch",
        *["installing: 157.3 MB of 157.3 MB"] * 3,
    ]


def test_the_packages_are_not_listed_and_a_failure_is_explained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real uv, without the network."""
    uv, env = str(find_uv()), {**os.environ, "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "c")}
    assert install([uv, "venv", "--python", sys.executable, str(tmp_path / "v")], env) == 0
    assert capfd.readouterr().err == ""
    python = str(tmp_path / "v/bin/python")
    assert install([uv, "pip", "install", "--python", python, "no-such-package-here"], env) != 0
    assert "no-such-package-here" in capfd.readouterr().err
