"""The guard of an experiment on a node: it ends with its worker, with everything below it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from sftplay import isolated
from tests.host.standin import wait_until

# A launcher with a supervisor in a session of its own, as trainings have; both save on SIGTERM.
LAUNCHER = """
import pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
inner = (
    "import pathlib, signal, sys, time\\n"
    "def save(*_): pathlib.Path(sys.argv[1], 'saved').touch(); sys.exit(85)\\n"
    "signal.signal(signal.SIGTERM, save)\\n"
    "pathlib.Path(sys.argv[1], 'trains').touch(); time.sleep(60)"
)
child = subprocess.Popen([sys.executable, "-c", inner, str(folder)], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
(folder / "pid").write_text(str(child.pid))
if "crash" in sys.argv:
    while not (folder / "trains").exists():
        time.sleep(0.02)
    sys.exit(9)
sys.exit(child.wait())
"""


def start(tmp_path: Path, *argv: str, **more: Any) -> subprocess.Popen[bytes]:
    job = {
        **{"argv": list(argv), "folder": str(tmp_path), "env": dict(os.environ), "grace": 20},
        **{"log": str(tmp_path / "log"), "end": str(tmp_path / "end/run.json")},
        **{"stop": str(tmp_path / "stop"), "where": "ray on n1", **more},
    }
    worker = subprocess.Popen(
        isolated.command("sftplay.host.ray.guard"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(job).encode() + b"\n")
    worker.stdin.flush()
    assert worker.wait(timeout=20) == 0  # it goes on as a process of its own
    return worker


def wait_for_guard(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdout is not None
    assert worker.stdout.read() == b""  # closed when the guard is gone


def launcher(tmp_path: Path, *more: str) -> list[str]:
    return [sys.executable, "-c", LAUNCHER, str(tmp_path), *more]


def test_the_end_of_a_command_is_written_with_its_place(tmp_path: Path) -> None:
    worker = start(tmp_path, "sh", "-c", "echo trained; exit 74")
    wait_for_guard(worker)
    assert json.loads((tmp_path / "end/run.json").read_text()) == {"code": 74, "where": "ray on n1"}
    assert (tmp_path / "log").read_text() == "trained\n"


def test_a_lost_worker_stops_the_training_and_writes_no_end(tmp_path: Path) -> None:
    worker = start(tmp_path, *launcher(tmp_path))
    wait_until((tmp_path / "trains").exists, "training")
    assert worker.stdin is not None
    worker.stdin.close()  # Ray's worker is gone
    wait_for_guard(worker)
    assert (tmp_path / "saved").exists()
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "end/run.json").exists()  # the end belongs to whoever continues


def test_a_request_to_stop_reaches_the_training(tmp_path: Path) -> None:
    worker = start(tmp_path, *launcher(tmp_path))
    wait_until((tmp_path / "trains").exists, "training")
    (tmp_path / "stop").touch()
    wait_for_guard(worker)
    assert json.loads((tmp_path / "end/run.json").read_text())["code"] == 85


def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; touch trains; while :; do sleep 0.05; done"
    worker = start(tmp_path, "sh", "-c", script, grace=0.3)
    wait_until((tmp_path / "trains").exists, "training")
    (tmp_path / "stop").touch()
    wait_for_guard(worker)
    assert json.loads((tmp_path / "end/run.json").read_text())["code"] == 137


def test_a_training_whose_launcher_crashed_does_not_outlive_the_guard(tmp_path: Path) -> None:
    began = time.monotonic()
    worker = start(tmp_path, *launcher(tmp_path, "crash"))
    wait_for_guard(worker)
    assert (tmp_path / "saved").exists() and time.monotonic() - began < 60
    assert json.loads((tmp_path / "end/run.json").read_text())["code"] == 9
