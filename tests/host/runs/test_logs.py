"""`inv logs`: each line once, whatever a progress bar draws meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sftplay.errors import NotFoundError
from sftplay.files import write_json
from sftplay.host.runs import live, logs
from sftplay.locks import hold
from sftplay.runs import Run
from tests.host.conftest import RunTask
from tests.host.runfolders import write_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def begin(run: Run, number: int = 1) -> Path:
    """Record a start; returns the file of its output, empty."""
    run.launch.mkdir(parents=True, exist_ok=True)
    write_json(
        run.launch / f"start-{number:03d}.json",
        {"number": number, "nonce": "n", "argv": ["train"], "stack": "cpu", "runner": "local", "environment_hash": "", "created": ""},
    )  # fmt: skip
    output = run.launch / f"output-{number:03d}.log"
    output.touch()
    return output


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as out:
        out.write(text)


class Follower:
    """`inv logs … -f` in a process of its own."""

    def __init__(self, folder: Path, *argv: str) -> None:
        self.screen = folder / "screen"
        with open(self.screen, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sftplay.host.cli", "logs", *argv],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def sees(self, text: str) -> None:
        end = time.monotonic() + 30
        while text not in self.screen.read_text():
            assert time.monotonic() < end, f"{text!r} is not in\n{self.screen.read_text()}"
            assert self.process.poll() is None, self.screen.read_text()
            time.sleep(0.05)

    def ends(self) -> str:
        assert self.process.wait(timeout=30) == 0, self.screen.read_text()
        return self.screen.read_text()


def test_while_a_bar_runs_each_line_comes_once(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the data stages through the first attempt to the one that takes over, without RUN."""
    monkeypatch.chdir(checkout)
    run = Run("busy")
    output = begin(run)
    stop = threading.Event()

    def draw() -> None:
        while not stop.wait(0.02):
            append(output, "\r 10%|#   step")

    with hold(run.run_lock, who="a trainer"):
        append(output, "· rendering\n")
        follower = Follower(checkout, "-f")
        follower.sees("rendering")
        # The last line of the data stages comes right before the first one of train.log.
        append(output, "✓ tokenized\n· run busy, attempt 01-unsloth\n")
        first = run.attempt(1, "unsloth").log
        append(first, "2026-01-01T00:00:00+00:00 info: run busy, attempt 01-unsloth\n")
        threading.Thread(target=draw, daemon=True).start()
        for step in range(1, 9):
            append(first, f"2026-01-01T00:00:00+00:00 step {step}/20 loss={step}.5\n")
            time.sleep(0.25)
        follower.sees("step 8/20")
        stop.set()
        output = begin(run, 2)
        append(output, "· handed over\n")
        follower.sees("handed over")
        append(output, "· run busy, attempt 02-bnb\n")
        second = run.attempt(2, "bnb").log
        append(second, "2026-01-01T00:00:00+00:00 info: run busy, attempt 02-bnb\n")
        append(second, "2026-01-01T00:00:00+00:00 step 1/20 loss=7.5\nthe end, no line break")
        follower.sees("loss=7.5")
    said = follower.ends()
    lines = [re.sub(r"^\S+T\S+ (info: )?|^[·✓] ", "", line) for line in said.splitlines()]
    assert lines == [
        "run busy (it is running)",
        "rendering",
        "tokenized",
        "run busy, attempt 01-unsloth",
        *(f"step {step}/20 loss={step}.5" for step in range(1, 9)),
        "handed over",
        "run busy, attempt 02-bnb",
        "step 1/20 loss=7.5",
        "the end, no line break",
    ]


def move_away(log: Path) -> None:
    log.rename(log.with_suffix(".old"))


@pytest.mark.parametrize("rotate", [move_away, lambda log: log.write_text("")])
def test_a_rotated_log_goes_on_from_its_beginning(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, rotate: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(checkout)
    run = write_run("a", steps=60, finished=False)
    log = run.attempts()[0].log
    with hold(run.run_lock, who="a trainer"):
        follower = Follower(checkout, "a", "--follow")
        follower.sees("step 29/60")
        append(log, "before\n")
        follower.sees("before\n")
        rotate(log)
        time.sleep(0.5)
        append(log, "after\n")
        follower.sees("after\n")
    said = follower.ends()
    assert said.count("before\n") == said.count("after\n") == 1
    assert said.count("\n") == logs.LATEST + 2


def test_a_resumed_training_does_not_show_its_old_log(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    run = write_run("a", steps=60, finished=False)
    log = run.attempts()[0].log
    with hold(run.run_lock, who="a trainer"):
        output = begin(run)
        append(output, "· resuming\n")
        follower = Follower(checkout, "a", "-f")
        follower.sees("resuming")
        append(output, "· run a, attempt 01-bnb\n")
        append(log, "2026-01-01T00:00:00+00:00 info: run a, attempt 01-bnb\nmore\n")
        follower.sees("more")
    said = follower.ends()
    assert "step 29" not in said
    assert said.count("attempt 01-bnb") == 1


def test_logs_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a", steps=60, finished=False)
    assert logs.show("a") == 0
    assert capsys.readouterr().out == run.attempts()[0].log.read_text()


def test_a_progress_bar_is_shown_in_its_last_state(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a", finished=False)
    run.attempts()[0].log.unlink()
    output = begin(run)
    output.write_bytes(b"begin\r\nstep 1\rstep 2\rstep 3\ndone\n")
    logs.show("a")
    assert capsys.readouterr().out == "begin\nstep 3\ndone\n"
    assert logs.last_line(output) == "done"
    output.write_bytes("· begin\n! broken for\n  a terminal\n  of 20 columns\n".encode())
    assert logs.last_line(output) == "broken for a terminal of 20 columns"


def test_colours_meant_for_another_terminal_are_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = write_run("a", finished=False)
    log = run.attempts()[0].log
    log.write_bytes(
        b"\x1b[34m\xc2\xb7 reading the model\x1b[0m\r\n\x1b[2K 10%|#\r\x1b[2K\x1b[32m\xc2\xb7 loading weights\x1b[0m\n"
    )
    run.attempts()[0].progress.unlink()
    with hold(run.run_lock, who="a trainer"):
        live.status()
    out = capsys.readouterr().out
    assert "\x1b" not in out and "10%" not in out
    assert out.splitlines()[2].endswith("  loading weights")
    logs.show("a")
    assert capsys.readouterr().out == "· reading the model\n· loading weights\n"


def test_a_run_without_a_log() -> None:
    Path("outputs/a").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="no log"):
        logs.show("a")


def test_the_run_that_is_meant_without_a_name(run_task: RunTask, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(checkout)
    end = run_task("logs")
    assert end.returncode == 66 and "no run has finished here yet" in end.stderr
    write_run("stopped", finished=False).record_event("failed")
    assert "run stopped (failed; no run has finished here yet)" in run_task("logs").stderr
    write_run("first")
    write_run("second").record_event("finished")
    end = run_task("logs")
    assert "run second (the newest finished one)" in end.stderr
    assert end.stdout == Run("second").attempts()[0].log.read_text()
    with hold(Run("first").run_lock, who="a trainer"):
        assert "run first (it is running)" in run_task("logs").stderr
    assert "run first" not in run_task("logs", "stopped").stderr


def test_the_output_of_one_rank(capsys: pytest.CaptureFixture[str]) -> None:
    attempt = write_run("a").attempts()[0]
    attempt.ranks.mkdir()
    (attempt.ranks / "001.log").write_text("step 1\rstep 2\nout of memory\n")
    assert logs.show_rank("a", 1) == 0
    assert capsys.readouterr().out == "step 2\nout of memory\n"
    with pytest.raises(NotFoundError, match="no rank 2"):
        logs.show_rank("a", 2)
