"""BuildKit's plain output, as an engine 20.10 wrote it."""

from __future__ import annotations

import pytest

from sftplay.host.images.progress import BuildProgress, stage_titles
from tests.host.conftest import CHECKOUT

BUILD = """\
#1 [internal] load build definition from Dockerfile
#1 sha256:be5c
#1 DONE 0.0s

#4 [system-cpu 1/2] FROM docker.io/library/debian:bookworm-slim
#4 CACHED

#5 [system-cpu 2/2] RUN apt-get update  && apt-get install -y python3
#5 CACHED

#10 [stack 2/3] RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv
#10 0.412 Resolved 78 packages in 32ms
#10 49.48  + zstandard==0.25.0
#10 DONE 52.1s

#15 exporting to image
#15 exporting layers
#15 exporting layers 27.0s done
#15 DONE 28.1s
"""
FAILED = """\
#10 [stack 2/3] RUN uv pip sync
#10 12.10 error: Failed to download `attrs==26.1.0`
#10 12.11   cause: Hash mismatch for `attrs==26.1.0`
#10 ERROR: executor failed running [/bin/sh -c uv pip sync]: exit code: 1
"""


def fed(text: str) -> BuildProgress:
    progress = BuildProgress({"system-cpu": "Python 3.11", "stack": "The locked environment"})
    for line in text.splitlines():
        progress.feed(line)
    return progress


def test_each_step_gets_a_line_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    progress = fed(BUILD)
    assert capsys.readouterr().err.splitlines() == [
        "· Python 3.11 2/2: as before",
        "· The locked environment 2/3: 52 s",
        "· writing the image: 28 s",
    ]
    assert progress.failed == []


def test_what_the_failed_step_said_is_kept() -> None:
    assert fed(FAILED).failed == [
        "error: Failed to download `attrs==26.1.0`",
        "  cause: Hash mismatch for `attrs==26.1.0`",
    ]


def test_on_a_terminal_the_running_step_is_shown() -> None:
    shown: list[str] = []
    progress = BuildProgress({"stack": "The locked environment"}, shown.append)
    progress.tick()
    progress.feed("#10 [stack 2/3] RUN uv pip sync")
    progress.tick()
    assert shown == ["The locked environment 2/3 (0 s)"]


def test_every_stage_of_the_dockerfile_says_what_it_is() -> None:
    titles = stage_titles(CHECKOUT / "images" / "Dockerfile")
    assert set(titles) == {"system-cpu", "system-cuda", "uv", "stack", "sftplay"}
    assert all(len(title) < 60 for title in titles.values())
