"""What killed writers leave is removed; what a living one writes is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from sftplay import temporary
from sftplay.files import write_json

_WRITER = """
import os, sys, time
from pathlib import Path
from sftplay.files import atomic_open
from sftplay.temporary import temporary_folder
with temporary_folder(Path("folder")) as folder, atomic_open(Path("a.json")) as out:
    out.write(b"half")
    out.flush()
    (folder / "x").touch()
    print("writes", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(temporary.__file__).parents[1])},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "writes\n"
        return child

    dead, alive = start(), start()
    assert len(list(tmp_path.glob(".tmp-*"))) == 4
    dead.kill()
    dead.wait()
    time.sleep(0.1)  # a file that is younger could be without its lock yet
    write_json(tmp_path / "a.json", {})
    assert len(list(tmp_path.glob(".tmp-a.json.*"))) == 1
    temporary.sweep(tmp_path)
    assert sorted(
        path.name.partition(".")[2].split(".")[0] for path in tmp_path.glob(".tmp-*")
    ) == [
        "tmp-a",
        "tmp-folder",
    ]
    alive.kill()
    alive.wait()
    temporary.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["a.json"]
