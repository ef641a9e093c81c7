"""A machine that changes under a training: a disk that becomes read-only, or slow; a clock that
jumps.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from sftplay.host.runs.view import read_run
from sftplay.manifest import problem_with
from sftplay.runs import Run
from tests.box import ROOT, Box, wait_for
from tests.disks import small_disk

ATTEMPT = "outputs/demo/attempts/01-bnb"
ADAPTER = "outputs/demo/adapter/adapter_model.safetensors"


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    """Make a folder of a mounted disk read-only: as where a kernel does it after an error, files that
    are open stay so, and no other can be opened.
    """
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_becomes_read_only_costs_the_steps_since_the_last_checkpoint(
    project: Path, box: Box, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(project, tmp_path / "alone"))
    words = ("train", "--config", "demo.yaml", "--set", "train.max_steps=40")
    assert box.run(*words, cwd=alone).code == 0
    with small_disk(project / "outputs", "size=50m") as disk:
        started = box.start(*words, cwd=project)
        wait_for(project / ATTEMPT / "checkpoints/checkpoint-4/manifest.json")
        with _read_only(disk):
            ran = started.wait()
        assert ran.code == 77, ran.err
        assert "read-only" in ran.err and "Traceback" not in ran.err
        checkpoints = list((project / ATTEMPT / "checkpoints").glob("checkpoint-*"))
        assert checkpoints and all(problem_with(path) is None for path in checkpoints)

        again = box.run(*words, "--resume", cwd=project)
        assert again.code == 0, again.err
        assert (project / ADAPTER).read_bytes() == (alone / ADAPTER).read_bytes()


@pytest.mark.long  # three trainings for what only its clock could change
def test_a_slow_disk_makes_a_training_slow_and_nothing_else(
    project: Path, box: Box, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(project, tmp_path / "alone"))
    assert box.run("train", "--config", "demo.yaml", cwd=alone).code == 0
    slow = {"BOX_BREAK": "tests.faults:slow_disk"}
    ran = box.run("train", "--config", "demo.yaml", cwd=project, **slow)
    assert ran.code == 0, ran.err
    assert (project / ADAPTER).read_bytes() == (alone / ADAPTER).read_bytes()


FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@pytest.mark.long
@pytest.mark.skipif(not FAKETIME, reason="a clock of its own needs libfaketime (Debian: faketime)")
@pytest.mark.parametrize("jump", ["+40d", "-3d"])
def test_a_clock_that_jumps_changes_no_result(project: Path, box: Box, jump: str) -> None:
    """The process sees the jump in its fourth step, and is stopped and resumed after it."""
    alone = Path(shutil.copytree(project, project.parent / "alone"))
    words = ("train", "--config", "demo.yaml", "--set", "train.max_steps=40")
    assert box.run(*words, cwd=alone).code == 0
    clock = project / "clock"
    clock.write_text("+0\n")
    training = subprocess.Popen(
        [sys.executable, "-m", "sftplay", *words],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LD_PRELOAD": str(FAKETIME[-1]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(project / ATTEMPT / "checkpoints/checkpoint-4/manifest.json")
    clock.write_text(f"{jump}\n")
    said = training.communicate(timeout=300)[1]
    assert training.returncode == 0, said
    assert (project / ADAPTER).read_bytes() == (alone / ADAPTER).read_bytes()

    os.chdir(project)
    view = read_run(Run("demo"))
    lines = (project / ATTEMPT / "steps.jsonl").read_text().splitlines()
    moments = [json.loads(line)["time"] for line in lines]
    assert max(moments) - min(moments) > 2 * 86400  # it did jump
    assert view.state == "finished" and not view.problems
    assert view.seconds is not None and view.seconds >= 0
    assert all(datetime.fromisoformat(event["time"]) for event in view.events)
