"""The token of the hub: never in a child's environment, and a file only as long as it is needed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.local.environments import Environment
from sftplay.host.local.runner import stage_environ
from sftplay.host.protocol.hub import hide_token, inherited, private_file, sweep
from sftplay.stages import BY_NAME

ENV = Environment("cpu", Path("/nowhere/bin/python"), "sha256:lock", "sha256:environment")


def hidden(**base: str) -> dict[str, str]:
    hide_token(base)
    return base


def test_a_hidden_token_reaches_the_child_that_inherits_it_and_no_other() -> None:
    base = hidden(HF_TOKEN="hf_secret", HUGGING_FACE_HUB_TOKEN="hf_other", HOME="/home/me")
    assert "hf_" not in " ".join(base.values())
    env = stage_environ(BY_NAME["fetch"], ENV, base, cores=2)
    assert "HF_HUB_OFFLINE" not in env
    reads = "import os; print(open(os.environ['HF_TOKEN_PATH']).read(), os.environ)"
    for _ in range(2):  # from the beginning each time
        out = subprocess.check_output(
            [sys.executable, "-c", reads], env=env, pass_fds=inherited(env), text=True
        )
        assert out.startswith("hf_secret ")
        assert out.count("hf_") == 1
    offline = stage_environ(BY_NAME["train"], ENV, base, cores=2)
    assert inherited(offline) == ()
    os.close(inherited(env)[0])


def test_without_a_token_nothing_changes() -> None:
    assert hidden(HF_TOKEN_PATH="/mine", HF_TOKEN="") == {"HF_TOKEN_PATH": "/mine"}
    assert inherited({"HF_TOKEN_PATH": "/mine"}) == ()
    with private_file({"HF_TOKEN_PATH": "/mine"}) as file:
        assert file is None


def test_a_container_gets_a_private_file_that_is_gone_once_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    base = hidden(HF_TOKEN="hf_secret")
    with private_file(base) as file:
        assert file is not None
        assert file.path.read_text() == "hf_secret"
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
        sweep()  # of another command: this one lives
        assert file.path.exists()
        file.discard()
        assert not list(tmp_path.iterdir())
    os.close(inherited(base)[0])


def test_what_a_killed_command_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    killed = """
import os
from sftplay.host.protocol.hub import hide_token, private_file
hide_token(os.environ)
with private_file(os.environ):
    os.kill(os.getpid(), 9)
"""
    env = {**os.environ, "HF_TOKEN": "hf_secret"}
    assert subprocess.run([sys.executable, "-c", killed], env=env, check=False).returncode == -9
    assert [path.read_text() for path in tmp_path.glob("*/token")] == ["hf_secret"]
    with private_file({}):
        assert not list(tmp_path.iterdir())
