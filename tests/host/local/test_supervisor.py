"""The supervisor: its grace, and its own end."""

from __future__ import annotations

import json
import os
import signal

from tests.host.standin import Project, wait_until


def test_a_stage_that_does_not_stop_is_ended_after_the_grace(project: Project) -> None:
    launcher = project.start(mode="deaf", grace=1)
    project.sees(launcher, b"step 1")
    launcher.send_signal(signal.SIGTERM)
    assert project.ends(launcher) == 137


def test_a_killed_supervisor_makes_the_stage_save_and_the_next_launcher_go_on(
    project: Project,
) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    os.kill(project.holder(), signal.SIGKILL)
    assert project.ends(launcher) == 70
    wait_until((project.run / "saved").exists, "checkpoint")
    resumed = project.start("--resume", mode="0")
    assert project.ends(resumed) == 0
    assert b"cut off" in project.terminal(resumed)
    assert json.loads((project.run / "launch" / "exit-001.json").read_text())["code"] is None
    assert project.starts() == 2


def test_a_scheduler_that_signals_every_process_stops_it_once(project: Project) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    supervisor = project.holder()
    launcher.send_signal(signal.SIGTERM)
    os.kill(supervisor, signal.SIGTERM)
    assert project.ends(launcher) == 85
    assert (project.run / "saved").exists()
