"""The hand-over without a GPU, before anything is started."""

from __future__ import annotations

import pytest

from tests.host.launch.launcher import BNB, launch
from tests.host.standin import Project


def test_without_a_gpu_unsloth_is_not_started(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launch(project, "ask:79", no_gpu="no NVIDIA GPU here") == 0
    assert project.start_lines() == [BNB]
    assert [(event["event"], event["reason"], event["phase"]) for event in project.events()] == [
        ("handed over", "no_gpu", "preflight")
    ]
    assert project.record("start-001.json")["runner"] == "preflight"
    assert "no NVIDIA GPU here" in capfd.readouterr().err


def test_preflight_is_final_too_where_hand_overs_are_off(project: Project) -> None:
    assert launch(project, "ask:79", no_gpu="no NVIDIA GPU here", enabled=False) == 79
    assert project.start_lines() == []
