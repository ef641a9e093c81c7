from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sftplay.call import StageCall
from sftplay.host.local.environments import Environment
from sftplay.host.local.runner import run_foreground, stage_environ
from sftplay.stages import BY_NAME
from sftplay.stamp import surroundings

ENV = Environment("cpu", Path("/nowhere/bin/python"), "sha256:lock", "sha256:environment")


def environ(stage: str, **base: str) -> dict[str, str]:
    return stage_environ(BY_NAME[stage], ENV, base, cores=2)


def test_argv_is_the_stages_own_command_line() -> None:
    call = StageCall(
        BY_NAME["style"], "c.yaml", "demo", ("a.b=1", "c.d=x y"), {"style": "-- be brief"}
    )
    words = [
        "style",
        "--config",
        "c.yaml",
        "--run",
        "demo",
        "--set",
        "a.b=1",
        "--set",
        "c.d=x y",
        "--style=-- be brief",
    ]
    assert call.argv == words


@pytest.mark.parametrize("stage", [name for name, one in BY_NAME.items() if not one.network])
def test_stages_are_offline_and_know_no_token(stage: str) -> None:
    env = environ(stage, HF_TOKEN="hf_secret", HUGGING_FACE_HUB_TOKEN="hf_secret", HOME="/home/me")
    assert env["HF_HUB_OFFLINE"] == env["TRANSFORMERS_OFFLINE"] == env["HF_DATASETS_OFFLINE"] == "1"
    assert "hf_secret" not in env.values()
    assert env["HOME"] == "/home/me"


def test_a_stage_learns_where_it_runs() -> None:
    env = environ("train", PYTHONPATH="/elsewhere", PYTHONDONTWRITEBYTECODE="1")
    assert "PYTHONPATH" not in env
    assert (env["SFTPLAY_RUNNER"], env["SFTPLAY_STACK"]) == ("local", "cpu")
    assert (env["SFTPLAY_LOCK_HASH"], env["SFTPLAY_ENVIRONMENT_HASH"]) == (
        "sha256:lock",
        "sha256:environment",
    )
    assert "PYTHONDONTWRITEBYTECODE" not in env


def test_the_stamp_takes_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in environ("train").items():
        monkeypatch.setenv(key, value)
    facts = {
        "stack": "cpu",
        "environment_hash": "sha256:environment",
        "lock_hash": "sha256:lock",
        "image_digest": None,
    }
    assert surroundings() == facts


def test_threads_follow_the_cores_unless_the_person_said_otherwise() -> None:
    assert environ("train")["OMP_NUM_THREADS"] == "2"
    assert environ("train", OMP_NUM_THREADS="7")["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(78)", 78),
        ("os.kill(os.getpid(), 9)", 137),
        ("os.abort()", 134),
    ],
)
def test_the_exit_code_is_passed_on(code: str, wanted: int) -> None:
    assert run_foreground([sys.executable, "-c", f"import os, sys; {code}"], os.environ) == wanted
