from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sftplay.call import StageCall
from sftplay.host.local.environments import Environment
from sftplay.host.local.runner import run_foreground, stage_environ
from sftplay.host.protocol.ends import explain_end
from sftplay.host.protocol.hub import token_file
from sftplay.host.system.checkout import CHECKOUT
from sftplay.stages import BY_NAME
from sftplay.stamp import surroundings

ENV = Environment("cpu", Path("/nowhere"), "sha256:lock", "sha256:environment")


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


@pytest.mark.parametrize("stage", [name for name in BY_NAME if name != "fetch"])
def test_stages_are_offline_and_know_no_token(stage: str) -> None:
    env = environ(stage, HF_TOKEN="hf_secret", HUGGING_FACE_HUB_TOKEN="hf_secret", HOME="/home/me")
    assert env["HF_HUB_OFFLINE"] == env["TRANSFORMERS_OFFLINE"] == env["HF_DATASETS_OFFLINE"] == "1"
    assert "hf_secret" not in env.values()
    assert env["HOME"] == "/home/me"


def test_a_stage_learns_where_it_runs() -> None:
    env = environ("train", PYTHONPATH="/elsewhere", PYTHONDONTWRITEBYTECODE="1")
    assert env["PYTHONPATH"] == str(CHECKOUT)
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


def test_fetch_may_use_the_network_and_gets_the_token_as_a_private_file() -> None:
    base = {"HF_TOKEN": "hf_secret"}
    assert "HF_HUB_OFFLINE" not in environ("fetch", **base)
    with token_file(base) as extra:
        path = Path(extra["HF_TOKEN_PATH"])
        assert path.read_text() == "hf_secret"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_token_file_of_the_persons_own_is_used_as_it_is() -> None:
    with token_file({"HF_TOKEN": "hf_secret", "HF_TOKEN_PATH": "/mine"}) as extra:
        assert extra == {}


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


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (137, "out of memory"),
        (139, "SIGSEGV"),
        (135, "/dev/shm"),
        (134, "SIGABRT"),
        (159, "SIGSYS"),
    ],
)
def test_ends_without_a_word_are_explained(
    code: int, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_end("eval", code)
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, 65, 85, 130, 143])
def test_ends_that_the_stage_explained_itself_get_no_second_word(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    explain_end("eval", code)
    assert capsys.readouterr().err == ""


PARENT = """
import os, sys
from sftplay.host.local.runner import run_foreground
child = '''
import os, signal, time
def stop(signum, frame):
    os.write(1, b"child got %d\\\\n" % signum)  # not print: the signal may come while it still writes "ready"
    os._exit(128 + signum)
for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(s, stop)
os.write(1, b"ready\\\\n")
time.sleep(30)
'''
sys.exit(run_foreground([sys.executable, "-c", child], os.environ))
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_task_reaches_the_stage_and_its_code_comes_back(
    signum: signal.Signals,
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    parent.send_signal(signum)
    assert parent.wait(timeout=30) == 128 + signum
    assert parent.stdout.read() == f"child got {int(signum)}\n"
    parent.stdout.close()


def test_ctrl_c_at_a_terminal_reaches_the_stage_once() -> None:
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-c", PARENT],
            {**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1024)
    os.write(terminal, b"\x03")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # the terminal's other side is closed
            break
        if not piece:
            break
        seen += piece
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert seen.count(b"child got 2") == 1
