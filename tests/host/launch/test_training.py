"""The launcher against a stand-in for the stage: its real processes, locks and signals, without ten
seconds of torch each.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from tests.host.standin import Project


def test_the_end_is_passed_on_and_written_down(project: Project) -> None:
    launcher = project.start(mode="65")
    assert project.ends(launcher) == 65
    assert b"begins train --run demo\n50%\r\xff100%\n" in project.terminal(launcher)
    start = json.loads((project.run / "launch" / "start-001.json").read_text())
    end = json.loads((project.run / "launch" / "exit-001.json").read_text())
    assert start["argv"] == ["train", "--run", "demo"]
    assert (start["stack"], start["runner"], start["environment_hash"]) == (
        "cpu",
        "local",
        "sha256:1",
    )
    assert (end["code"], end["nonce"]) == (65, start["nonce"])
    assert (project.run / "starts").read_text().split()[0] == start["nonce"]


def test_a_failed_start_can_be_made_again(project: Project) -> None:
    assert project.ends(project.start(mode="65")) == 65
    assert project.ends(project.start(mode="0")) == 0
    assert project.starts() == 2
    assert (project.run / "launch" / "exit-002.json").is_file()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_stop_lets_the_stage_save(project: Project, signum: signal.Signals) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 2")
    launcher.send_signal(signum)
    assert project.ends(launcher) == 85
    assert (project.run / "saved").exists()


def test_the_second_stop_ends_it_now(project: Project) -> None:
    launcher = project.start(mode="deaf")
    project.sees(launcher, b"step 1")
    launcher.send_signal(signal.SIGINT)
    project.sees(launcher, b"saving")
    launcher.send_signal(signal.SIGINT)
    assert project.ends(launcher) == 130
    assert not (project.run / "saved").exists()


def test_a_closed_terminal_lets_the_training_go_on(project: Project) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.send_signal(signal.SIGHUP)
    assert project.ends(launcher) == 128 + signal.SIGHUP
    again = project.start()
    project.sees(again, b"watching it")
    (project.run / "enough").touch()
    assert project.ends(again) == 0
    assert b"done" in project.terminal(again)
    assert project.starts() == 1


def test_a_killed_launcher_started_again_watches_the_same_training(project: Project) -> None:
    for _ in range(3):
        launcher = project.start()
        project.sees(launcher, b"step")
        launcher.kill()
        launcher.wait()
    last = project.start()
    project.sees(last, b"watching it")
    last.send_signal(signal.SIGINT)
    assert project.ends(last) == 85
    assert project.starts() == 1


def test_a_launcher_killed_while_it_starts_never_leaves_two_trainings(project: Project) -> None:
    for delay in (0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5):
        launcher = project.start()
        time.sleep(delay)
        launcher.kill()
        launcher.wait()
    last = project.start()
    project.sees(last, b"step")
    (project.run / "enough").touch()
    assert project.ends(last) == 0
    assert project.starts() == 1


@pytest.mark.long  # 50 kills, about a minute
def test_fifty_kills_at_random_moments_never_leave_two_trainings(project: Project) -> None:
    random = Random(4)
    for _ in range(50):
        launcher = project.start()
        time.sleep(random.uniform(0.05, 0.8))
        launcher.kill()
        launcher.wait()
    last = project.start()
    project.sees(last, b"step")
    (project.run / "enough").touch()
    assert project.ends(last) == 0
    assert project.starts() == 1


@pytest.mark.long  # 500 launchers, about ten minutes
def test_five_hundred_starts_and_stops_leave_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at any moment, half of them before their stage has begun, by Ctrl-C's signal or that of
    `inv stop`.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    random, codes = Random(7), Counter[int]()
    for _ in range(500):
        launcher = project.start("--resume") if project.starts() else project.start()
        if random.random() < 0.5:
            project.sees(launcher, b"step 0")
        time.sleep(random.uniform(0.05, 0.5))
        launcher.send_signal(random.choice([signal.SIGINT, signal.SIGTERM]))
        codes[project.ends(launcher)] += 1
    # -2, -15 and 1: in the imports of this test's launcher, before it can listen
    assert set(codes) <= {85, 130, 143, 1, -2, -15} and codes[85] > 200, codes
    print(codes)
    assert not _mentioning(str(tmp_path)), "a process is left"
    assert not list(temporary.iterdir())
    hidden = {path.name for path in project.run.rglob(".*") if path.is_file()}
    assert hidden <= {".launch.lock", ".run.lock"}, hidden


def _mentioning(folder: str) -> list[list[str]]:
    """Return the commands of processes that work in a folder or name it, but for this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            inside = process.cwd().startswith(folder) or any(folder in word for word in words)
            if inside and process.pid != os.getpid():
                found.append(words)
    return found


def test_the_losers_of_a_race_watch_the_winner(project: Project) -> None:
    racers = [project.start() for _ in range(4)]
    for racer in racers:
        project.sees(racer, b"step 3")
    (project.run / "enough").touch()
    assert [project.ends(racer) for racer in racers] == [0] * 4
    assert project.starts() == 1
    for racer in racers:
        assert b"Traceback" not in project.terminal(racer)


def test_a_loser_takes_over_from_a_killed_winner(project: Project) -> None:
    winner = project.start()
    project.sees(winner, b"step 1")
    loser = project.start()
    project.sees(loser, b"watching it too")
    winner.kill()
    winner.wait()
    project.sees(loser, b"step 5")
    loser.send_signal(signal.SIGINT)
    assert project.ends(loser) == 85
    assert (project.run / "saved").exists()
    assert project.starts() == 1


def test_a_second_terminal_can_be_closed(project: Project) -> None:
    winner = project.start()
    project.sees(winner, b"step 1")
    loser = project.start()
    project.sees(loser, b"watching it too")
    loser.send_signal(signal.SIGHUP)
    assert project.ends(loser) == 128 + signal.SIGHUP
    other = project.start("--no-auto")
    assert project.ends(other) == 75
    said = project.terminal(other)
    assert b"with other arguments runs here" in said and b"watching" not in said
    (project.run / "enough").touch()
    assert project.ends(winner) == 0


def test_other_arguments_are_refused_while_a_training_runs(project: Project) -> None:
    first = project.start()
    project.sees(first, b"step 1")
    first.kill()
    first.wait()
    other = project.start("--no-auto")
    assert project.ends(other) == 75
    assert b"train --run demo" in project.terminal(other)


def test_a_run_that_has_begun_wants_resume(project: Project) -> None:
    attempt = project.run / "attempts" / "01-bnb"
    attempt.mkdir(parents=True)
    (attempt / "backend.json").touch()
    launcher = project.start(mode="0")
    assert project.ends(launcher) == 76
    assert b"--resume" in project.terminal(launcher)
    assert not (project.run / "starts").exists()


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """outputs/ on a file system of its own."""
    disk = project.folder / "outputs"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_full_at_the_end_hides_no_end(project: Project, small_disk: Path) -> None:
    launcher = project.start(mode="run")
    project.sees(launcher, b"step 1")
    with (
        pytest.raises(OSError, match="No space"),
        open(small_disk / "filler", "wb", buffering=0) as filler,
    ):
        while True:
            filler.write(b"x" * 512)
    (project.run / "enough").touch()
    assert project.ends(launcher) == 0
    assert project.record("exit-001.json")["code"] == 0


def test_a_disk_that_is_full_at_the_start_is_said(project: Project, small_disk: Path) -> None:
    with (
        pytest.raises(OSError, match="No space"),
        open(small_disk / "filler", "wb", buffering=0) as filler,
    ):
        while True:
            filler.write(b"x" * 512)
    launcher = project.start(mode="0")
    assert project.ends(launcher) == 74
    assert b"the disk is full" in project.terminal(launcher)
