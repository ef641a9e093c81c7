from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sftplay.host.cli import bootstrap
from tests.host.conftest import CHECKOUT

# `python3 tasks.py` in an interpreter of which something is changed first.
RUN = "import runpy, sys; sys.argv = ['tasks.py', '--list']; {change}; runpy.run_path('tasks.py', run_name='__main__')"


def tasks_py(checkout: Path, change: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN.format(change=change)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("sys.version_info = (3, 9, 18)", ["3.10", "3.9"]),
        ("sys.modules['ensurepip'] = None", ["venv", "sudo apt install python3"]),
        ("sys.modules['venv'] = None", ["venv", "sudo apt install python3"]),
        ("import platform; platform.machine = lambda: 'aarch64'", ["Linux x86-64", "aarch64"]),
        ("import platform; platform.system = lambda: 'Darwin'", ["Linux x86-64", "Darwin"]),
    ],
)
def test_a_machine_that_can_not_is_told_so_in_a_line_or_two(
    checkout: Path, change: str, words: list[str]
) -> None:
    end = tasks_py(checkout, change)
    assert end.returncode == 69
    assert len(end.stderr.splitlines()) <= 2
    for word in words:
        assert word in end.stderr
    assert not (checkout / ".venv").exists()


def test_an_environment_of_somebody_else_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    end = tasks_py(checkout, "pass")
    assert end.returncode == 69
    assert "did not make" in end.stderr
    assert os.listdir(checkout / ".venv") == ["pyvenv.cfg"]


DAMAGES = {
    "bin": "rm -r .venv/bin",
    "python": "ln -sfn /nowhere/python3 .venv/bin/python3",
    "uv": "rm .venv/bin/uv",
    "package": "rm -r .venv/lib/python3*/site-packages/pydantic",
    "record of a package": "rm -r .venv/lib/python3*/site-packages/rich-*.dist-info",
    "other python": "mv .venv/lib/python3* .venv/lib/python3.9",
    "marker": "printf '{' > .venv/sftplay-set-up",
    "odd marker": "printf '[]' > .venv/sftplay-set-up",
    "everything": "rm -r .venv",
    "a file": "rm -r .venv; touch .venv",
}


@pytest.fixture
def set_up(checkout: Path) -> Path:
    """The checkout with a copy of the real one's .venv; its files are links to those."""
    if not bootstrap.is_done():
        pytest.skip("needs .venv: python3 tasks.py")
    subprocess.run(["cp", "-al", CHECKOUT / ".venv", checkout / ".venv"], check=True)
    marker = checkout / ".venv/sftplay-set-up"
    text = marker.read_text()
    marker.unlink()  # no link: tests change it
    marker.write_text(text)
    return checkout


def is_done(checkout: Path) -> bool:
    ask = "from sftplay.host.cli import bootstrap; print(bootstrap.is_done())"
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    said = subprocess.check_output([sys.executable, "-c", ask], cwd=checkout, env=env, text=True)
    return said.strip() == "True"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_seen_by_what_is_there(set_up: Path, damage: str) -> None:
    assert is_done(set_up)
    subprocess.run(["/bin/sh", "-c", DAMAGES[damage]], cwd=set_up, check=True)
    assert not is_done(set_up)


def plain_environ(home: Path) -> dict[str, str]:
    """What a person has who never heard of environments."""
    home.mkdir(exist_ok=True)
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL", "UV_CACHE"))
    }
    return env | {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "NO_COLOR": "1"}


@pytest.mark.long  # makes .venv for every damage
def test_the_same_command_heals_it(set_up: Path, tmp_path: Path) -> None:
    env = plain_environ(tmp_path / "home")
    python = str(getattr(sys, "_base_executable", sys.executable))
    damages = {name: words for name, words in DAMAGES.items() if name != "a file"}
    damages |= {"a module": "rm .venv/lib/python3*/site-packages/invoke/program.py"}
    for damage, words in damages.items():
        subprocess.run(["/bin/sh", "-c", words], cwd=set_up, check=True)
        for _ in range(2):
            argv = [python, "tasks.py", "--list"]
            done = subprocess.run(
                argv, cwd=set_up, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (damage, done.stderr)
            assert "Traceback" not in done.stderr, damage
            assert "quickstart" in done.stdout
        assert "setting up" not in done.stderr, damage


@pytest.mark.long  # makes .venv from nothing until a kill comes too late
def test_a_set_up_killed_at_any_moment_is_made_by_the_next_command(
    checkout: Path, tmp_path: Path
) -> None:
    env = plain_environ(tmp_path / "home")
    python = str(getattr(sys, "_base_executable", sys.executable))
    for seconds in (0.2, 0.7, 1.5, 3, 5, 8):
        shutil.rmtree(checkout / ".venv", ignore_errors=True)
        words = {"cwd": checkout, "env": env, "stdin": -3, "stdout": -1, "stderr": -1}
        cut = subprocess.Popen([python, "tasks.py", "--list"], **words)  # type: ignore[call-overload]
        time.sleep(seconds)
        cut.kill()
        again = subprocess.run(
            [python, "tasks.py", "--list"],
            cwd=checkout, env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert again.returncode == 0, (seconds, again.stderr)
        assert "Traceback" not in again.stderr


@pytest.mark.long  # makes .venv four times over, from PyPI and with an empty home
def test_python_alone_is_enough(checkout: Path, tmp_path: Path) -> None:
    env = plain_environ(tmp_path / "home")
    python = str(getattr(sys, "_base_executable", sys.executable))

    def start(*argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [python, "tasks.py", *argv],
            cwd=checkout,
            env=env,
            stdout=-1,
            stderr=-1,
            stdin=-3,
            text=True,
        )

    cut = start("--list")
    deadline = time.monotonic() + 60
    while not (checkout / ".venv" / "bin").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    cut.kill()
    cut.communicate()
    both = [start("--list"), start("--list")]  # the interrupted set-up is made again, and once only
    ends = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert "".join(err for _, err in ends).count("set up;") == 1
    assert all("quickstart" in out for out, _ in ends)
    for err in (err for _, err in ends if "set up;" in err):
        assert err.index("MB") < err.index("set up;")

    again = start("nope")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 2
    assert "setting up" not in err

    lock = checkout / "images" / "host.lock"
    lock.write_text(lock.read_text() + "\n")
    newer = start("--list")
    _, err = newer.communicate(timeout=300)
    assert newer.returncode == 0, err
    assert "setting up" in err
