"""One launcher per run."""

from __future__ import annotations

from tests.host.standin import Project


def test_a_second_launcher_is_refused_while_the_first_watches(project: Project) -> None:
    first = project.start()
    project.sees(first, b"step 1")
    second = project.start()
    assert project.ends(second) == 75
    assert b"a launcher" in project.terminal(second)
    assert first.poll() is None
