from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


@pytest.mark.long  # makes .venv four times over, from PyPI and with an empty home
def test_python_alone_is_enough(checkout: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL", "UV_CACHE"))
    }
    env |= {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "NO_COLOR": "1"}
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
