"""A machine that changes under a training: its clock jumps, its disks fill up or become read-only,
and the driver of a batch is killed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.conftest import NO_ENGINE, RunTask

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("environment")]  # real trainings
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    """A tmpfs; skips where mounting is not permitted."""
    place.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", *options, "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def write_rows(checkout: Path, model: Path) -> list[str]:
    """A few rows; the words that train on them."""
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(40)]
    raw = checkout / "data/raw/sums.jsonl"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [f"model.name={model}", "train.device=cpu", "train.save_steps=20", "data.test_share=0"]
    return ["--run", "demo", *(word for value in sets for word in ("--set", value))]


class Training:
    """`inv train` in the local runner."""

    def __init__(self, checkout: Path, words: list[str], **env: str) -> None:
        self.screen = checkout / "screen"
        self.steps = checkout / "outputs/demo/attempts/01-bnb/steps.jsonl"
        with open(self.screen, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sftplay.host.cli", "train", "--runner", "local", *words],
                cwd=checkout,
                env={
                    **os.environ,
                    "PYTHONPATH": str(checkout),
                    "DOCKER_HOST": NO_ENGINE,
                    "NO_COLOR": "1",
                    **env,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def reaches(self, step: int) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.screen.read_text()
            return self.steps.is_file() and max(self.seen(), default=0) >= step

        wait_until(there)

    def seen(self) -> list[int]:
        """The steps that were logged; the last line may be half written."""
        whole = self.steps.read_text().rpartition("\n")[0]
        return [json.loads(line)["step"] for line in whole.splitlines()]

    def ends(self) -> int:
        code = self.process.wait(300)
        assert "Traceback" not in self.screen.read_text()
        return code


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_temporary_folder_home_and_cache_full_or_read_only(
    checkout: Path, tiny_model: Path, tmp_path: Path
) -> None:
    words = write_rows(checkout, tiny_model)
    with (
        mounted(tmp_path / "tmp", "-o", "size=64k") as tmp,
        mounted(tmp_path / "home") as home,
        mounted(tmp_path / "cache") as cache,
    ):
        places = {"TMPDIR": str(tmp), "HOME": str(home), "SFTPLAY_CACHE": str(cache)}
        training = Training(checkout, [*words, "--set", "train.max_steps=60"], **places)
        training.reaches(5)
        (tmp / "x").write_bytes(b"x" * 40_000)
        with pytest.raises(OSError, match="No space"):
            (tmp / "y").write_bytes(b"x" * 40_000)
        for place in (home, cache):
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        assert training.ends() == 0, training.screen.read_text()


def test_a_disk_that_becomes_read_only_ends_it_with_its_code(
    checkout: Path, tiny_model: Path
) -> None:
    words = write_rows(checkout, tiny_model)
    attempts = checkout / "outputs/demo/attempts"
    with mounted(attempts):
        training = Training(checkout, [*words, "--set", "train.max_steps=2000"])
        training.reaches(25)
        remount = ["mount", "-o", "remount,ro", str(attempts)]
        done = subprocess.run(remount, capture_output=True, text=True, check=False)
        if done.returncode:
            training.process.terminate()
            training.ends()
            pytest.skip(f"the kernel refuses it while files are open: {done.stderr.strip()}")
        assert training.ends() == 77, training.screen.read_text()
        assert "the disk is read-only" in training.screen.read_text()
        assert list(attempts.glob("01-bnb/checkpoints/checkpoint-*/manifest.json"))


@pytest.mark.skipif(not _FAKETIME.is_file(), reason="needs libfaketime (Debian)")
@pytest.mark.parametrize("jump", ["-40d", "+40d"])
def test_a_clock_that_jumps_changes_nothing(
    checkout: Path, tiny_model: Path, run_task: RunTask, jump: str
) -> None:
    words = write_rows(checkout, tiny_model)
    clock = checkout / "clock"
    clock.write_text("+0\n")
    python = next((checkout / ".envs").glob("cpu-*/bin/python"))
    faked = f"LD_PRELOAD={_FAKETIME} FAKETIME_TIMESTAMP_FILE={clock} FAKETIME_NO_CACHE=1"
    python.write_text(
        python.read_text().replace("exec ", f"export {faked} DONT_FAKE_MONOTONIC=1\nexec ")
    )
    training = Training(checkout, [*words, "--set", "train.max_steps=200"])
    training.reaches(25)
    clock.write_text(f"{jump}\n")
    training.reaches(50)
    training.process.terminate()
    assert training.ends() == 85, training.screen.read_text()
    clock.write_text("+0\n")
    again = Training(checkout, [*words, "--set", "train.max_steps=200", "--resume"])
    assert again.ends() == 0, again.screen.read_text()
    assert max(training.seen()) == 200
    shown = run_task("runs", "--json")
    assert shown.returncode == 0, shown.stderr
    (run,) = json.loads(shown.stdout)
    assert (run["state"], run["problems"]) == ("finished", [])


def test_a_batch_driver_killed_at_random_moments_goes_on(
    checkout: Path, tiny_model: Path, run_task: RunTask
) -> None:
    write_rows(checkout, tiny_model)
    common = f"model.name: {tiny_model}, train.device: cpu, train.save_steps: 10, eval.samples: 2, eval.max_new_tokens: 2"
    (checkout / "configs/batch.yaml").write_text(
        f"datasets: {{sums: {{raw: data/raw}}}}\nexperiments:\n"
        f"  - {{name: one, dataset: sums, set: {{{common}, train.max_steps: 60}}}}\n"
        f"  - {{name: two, dataset: sums, set: {{{common}, train.max_steps: 40}}}}\n"
    )
    chance = random.Random(22)
    for _ in range(6):
        driver = subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", "batch", "--runner", "local"],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout), "DOCKER_HOST": NO_ENGINE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(1, 25))
        driver.kill()
        driver.wait()
    done = run_task("batch", "--runner", "local", timeout=600)
    assert done.returncode == 0, done.stderr
    for name, steps in (("one", 60), ("two", 40)):
        record = json.loads((checkout / f"outputs/{name}/run.json").read_text())
        assert record["steps"] == steps
        starts = (checkout / f"outputs/{name}/launch").glob("start-*.json")
        assert len(list(starts)) >= 1
        assert (checkout / f"outputs/{name}/eval/val/metrics.json").is_file()
    assert not list((checkout / "outputs").rglob(".tmp-*"))
