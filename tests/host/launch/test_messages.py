"""Messages of a launch: a crash, and an end that nobody saw."""

from __future__ import annotations

from tests.host.standin import Project, wait_until


def test_a_crash_is_explained(project: Project) -> None:
    launcher = project.start(mode="segfault")
    assert project.ends(launcher) == 139
    assert b"SIGSEGV" in project.terminal(launcher)


def test_an_end_that_nobody_saw_is_told_once(project: Project) -> None:
    launcher = project.start()
    project.sees(launcher, b"step 1")
    launcher.kill()
    (project.run / "enough").touch()
    wait_until((project.run / "launch" / "exit-001.json").exists, "exit record")
    second = project.start()
    assert project.ends(second) == 0
    assert b"ended meanwhile" in project.terminal(second)
    assert b"done" in project.terminal(second)
    assert project.starts() == 1
    assert project.ends(project.start(mode="0")) == 0
    assert project.starts() == 2
