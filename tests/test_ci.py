""".ci/engine.sh where it can't do what it is for: it says why, in a file too, and leaves nothing
behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copy() -> Iterator[Path]:
    """Copy what the script needs to where another user may read it, with a docker command that
    finds no engine.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        (folder / "images").mkdir()
        shutil.copy(ROOT / "images" / "Dockerfile", folder / "images")
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")
        (folder / "bin" / "docker").chmod(0o755)
        (folder / "work").mkdir()
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o055)
        (folder / "work").chmod(0o777)
        yield folder


def run(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    path = f"{copy}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    words = ("bash", str(copy / ".ci" / "engine.sh"), *words)
    return subprocess.run(
        words,
        env={"PATH": path},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **nobody,
    )


def test_without_an_engine_and_without_rights_it_says_why(copy: Path) -> None:
    done = run(copy, "up", str(copy / "work" / "engine"))
    assert done.returncode == 69
    said = "no engine answers, and only root can start one"
    assert said in done.stderr
    assert (copy / "work" / "engine" / "why").read_text().strip() == said
    assert not (copy / "work" / "engine" / "env").exists()
    assert run(copy, "down", str(copy / "work" / "engine")).returncode == 0
    assert not (copy / "work" / "engine").exists()


@pytest.mark.parametrize("words", [(), ("up",), ("start", "here")])
def test_a_wrong_command_line_gets_the_right_one(copy: Path, words: tuple[str, ...]) -> None:
    done = run(copy, *words)
    assert done.returncode == 2
    assert ".ci/engine.sh up FOLDER" in done.stderr
