"""Progress: silent for short work, plain lines in a pipe, a bar where there is a terminal, never a
reason to fail.
"""

import os
import subprocess
import sys

import pytest

from sftplay.data import progress as module
from sftplay.data.progress import ProgressBar, clock, progress


def child(code: str, **env: str) -> tuple[str, str]:
    """stdout and stderr of a Python child, carriage returns kept."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, **env},
        check=True,
        timeout=60,
    )
    return done.stdout.decode(), done.stderr.decode()


SLOW = """
import time
from sftplay.data import progress as module
module.SHOW_AFTER = 0.05
with module.progress(40, "row", "process") as bar:
    for _ in range(40):
        time.sleep(0.005)
        bar.advance(1, bad=3)
"""


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(100, "row", "process") as bar:
        for _ in range(100):
            bar.advance()
    assert capsys.readouterr().err == ""


def test_a_pipe_gets_few_plain_lines() -> None:
    _, err = child(SLOW)
    lines = err.split("\n")[:-1]
    assert len(lines) == 1  # then 30 seconds of silence
    assert "process:" in lines[0]
    assert "left" in lines[0]
    assert "bad 3" in lines[0]
    assert "\r" not in err


def test_a_launcher_that_copies_to_a_terminal_gets_a_bar_of_its_width() -> None:
    _, err = child(SLOW, SFTPLAY_TERMINAL="60")
    drawn = [piece for piece in err.split("\r") if piece.startswith("process")]
    assert drawn
    assert all(len(piece) <= 60 for piece in drawn)
    assert "bad=3" in err


PARTS = """
import time
from sftplay.data import progress as module
module.SHOW_AFTER, module.PLAIN_EVERY = 0.01, 0.0
with module.progress(3, "row", "answers") as bar:
    for _ in range(30):
        time.sleep(0.02)
        bar.advance(0.1)
"""


def test_parts_add_up_to_whole_ones() -> None:
    _, err = child(PARTS, SFTPLAY_TERMINAL="60")
    counts = [piece.split("/3")[0].rsplit(" ", 1)[-1] for piece in err.split("\r") if "/3" in piece]
    assert counts[0] == "0"
    assert {"1", "2"} <= {*counts} <= {"0", "1", "2", "3"}


def test_no_plain_line_before_the_first_whole_one() -> None:
    _, err = child(PARTS)
    assert 1 <= len(err.splitlines()) <= 21
    assert "33% of 3 rows" in err.splitlines()[0]


def test_a_closed_terminal_does_not_stop_the_work() -> None:
    code = (
        SLOW.replace("with module", "import os; os.close(2)\nwith module", 1)
        + "\nprint('finished', flush=True)\nos._exit(0)"
    )
    assert "finished" in child(code, SFTPLAY_TERMINAL="60")[0]


def test_the_line_counts_only_what_was_done_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    bar = ProgressBar(1000, "step", "training", done=500)
    bar.done += 100
    assert bar.line(110.0, {}) == "training: 60% of 1,000 steps, 10 steps/s, 0:40 left"


def test_bytes_are_shown_in_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    bar = ProgressBar(2_000_000, "B", "process")
    bar.done = 1_000_000
    assert bar.line(1.0, {}) == "process: 50% of 2.0 MB, 1.0 MB/s, 0:01 left"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65, "1:05"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(("columns", "last"), [("64", "loss"), ("80", "acc"), ("120", "norm")])
def test_a_narrow_bar_shows_the_first_values_and_none_cut_off(columns: str, last: str) -> None:
    shown = {"loss": "2.335", "acc": "0.55", "tok/s": "103", "norm": "1.20"}
    code = SLOW.replace("bad=3", f"**{shown}").replace('"row", "process"', '"step", "train"')
    _, err = child(code, SFTPLAY_TERMINAL=columns)
    drawn = [piece for piece in err.split("\r") if "train:" in piece]
    names = list(shown)
    kept, hidden = names[: names.index(last) + 1], names[names.index(last) + 1 :]
    assert all(len(piece) <= int(columns) for piece in drawn)
    assert all(f"{name}={shown[name]}" in drawn[-1] for name in kept), drawn[-1]
    assert not any(f"{name}=" in drawn[-1] for name in hidden), drawn[-1]
