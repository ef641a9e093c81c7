"""The GPU tests can be collected on any machine, and are skipped with a reason where there is no
GPU.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.system.machine import read_machine

ROOT = Path(__file__).resolve().parent.parent


def test_they_are_collected_by_the_documented_selection() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "tests/gpu",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    command += ["--collect-only"] if read_machine().has_gpu else ["-rs"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert read_machine().has_gpu or (
        "needs an NVIDIA GPU" in ran.stdout and "passed" not in ran.stdout
    )
    assert "error" not in ran.stdout.lower()


def test_the_document_names_the_command_and_every_file() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert 'inv test --args="-m gpu tests/gpu"' in text
    for path in (ROOT / "tests" / "gpu").glob("test_*.py"):
        assert path.name in text


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests" / "gpu").glob("test_*.py")), ids=lambda path: path.name
)
def test_every_file_is_marked(path: Path) -> None:
    assert "pytestmark = pytest.mark.gpu" in path.read_text(encoding="utf-8")
