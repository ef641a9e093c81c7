"""One launcher per run."""

from __future__ import annotations

from tests.host.standin import Project


def test_a_second_launcher_watches_what_the_first_does(project: Project) -> None:
    first = project.start()
    project.sees(first, b"step 1")
    second = project.start()
    project.sees(second, b"watching it too")
    (project.run / "enough").touch()
    assert project.ends(first) == project.ends(second) == 0
    assert project.starts() == 1
