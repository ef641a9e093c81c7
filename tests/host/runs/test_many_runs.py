"""Thousands of runs, and hundreds of starts."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from sftplay.locks import is_held
from tests.host.conftest import CHECKOUT
from tests.host.runfolders import write_run
from tests.host.standin import Project

_PREPARE = "import os; from sftplay.host.runs import table, live; os.chdir({folder!r}); {call}"


def cpu_seconds(folder: Path, call: str) -> float:
    """CPU time of a whole process that makes this call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = _PREPARE.format(folder=str(folder), call=call)
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "r1999" in done.stdout or "nothing runs" in done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.long  # makes 2,000 folders
def test_two_thousand_runs_are_listed_in_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run("r0")
    for number in range(1, 2000):
        shutil.copytree("outputs/r0", f"outputs/r{number}", copy_function=os.link)
    for call, limit in (("table.show()", 2), ("table.show(as_json=True)", 2), ("live.status()", 1)):
        taken = min(cpu_seconds(tmp_path, call) for _ in range(3))
        assert taken < limit, (call, taken)


def left_behind(project: Project) -> list[str]:
    """Processes, temporary files and locks of a project."""
    folder = str(project.folder)
    running = [
        str(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline", "cwd", "status"])
        if process.info["cwd"] == folder and process.info["status"] != psutil.STATUS_ZOMBIE
    ]
    files = [str(path) for path in project.folder.rglob(".tmp-*")]
    files += [str(path) for path in Path(tempfile.gettempdir()).glob("sftplay-*")]
    held = [str(path) for path in project.folder.rglob("*.lock") if is_held(path)]
    return running + files + held


@pytest.mark.long  # about two minutes
def test_two_hundred_starts_and_stops_leave_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp = project.folder / "tmp"
    tmp.mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp))
    ends = []
    for number in range(200):
        mode = ("0", "65", "run")[number % 3]
        launcher = project.start(mode=mode)
        if mode == "run":
            project.sees(launcher, b"step 0")
            launcher.send_signal(signal.SIGINT)
        ends.append(project.ends(launcher))
        if number % 50 == 49:
            assert left_behind(project) == [], number
    assert set(ends) == {0, 65, 85}
    assert len(list((project.run / "launch").glob("exit-*.json"))) == project.starts() == 200
