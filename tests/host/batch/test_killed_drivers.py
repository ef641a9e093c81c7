"""Drivers of a batch that are killed at ten moments, with every engine: one result for each
experiment, and no step is trained twice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.host.batch import test_ray, test_slurm
from tests.host.batch.test_slurm import adapter, write_batch
from tests.host.conftest import NO_ENGINE, make_environment, stage_python

pytestmark = pytest.mark.long  # four real trainings, and eleven drivers, for each engine

Start = Callable[[], "subprocess.Popen[bytes]"]


def start_locally(checkout: Path) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        **{"SFTPLAY_ENVS": str(checkout / ".envs"), "DOCKER_HOST": NO_ENGINE, "NO_COLOR": "1"},
        **{"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
    }
    with open(checkout / "screen", "ab") as screen:
        return subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", "batch", "--runner", "local"],
            cwd=checkout, env=environ, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
        )  # fmt: skip


def kill(driver: subprocess.Popen[bytes]) -> None:
    """Kill the driver itself: nsenter is its parent in a namespace."""
    below = psutil.Process(driver.pid).children() if "nsenter" in str(driver.args) else []
    for one in below:
        one.kill()
    driver.kill()
    driver.wait()


@pytest.fixture(params=["local", "slurm", "ray"])
def start(request: pytest.FixtureRequest, checkout: Path, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        if request.param == "local":
            yield lambda: start_locally(checkout)
        elif request.param == "slurm":
            slurm = stack.enter_context(test_slurm.started_cluster(tmp_path, checkout))
            yield lambda: test_slurm.start(slurm, checkout)
        else:
            ray = stack.enter_context(test_ray.started_cluster(checkout))
            yield lambda: test_ray.start(ray)


def test_a_driver_killed_at_ten_moments_leaves_one_result_each(
    start: Start, checkout: Path, tiny_model: Path
) -> None:
    make_environment(checkout / ".envs", f'exec "{stage_python()}" "$@"')
    write_batch(checkout, str(tiny_model), [1, 2, 3, 4], **{"train.max_steps": 60, "train.save_steps": 5, "train.logging_steps": 1})  # fmt: skip
    moments = random.Random(5)
    for _ in range(10):
        driver = start()
        time.sleep(moments.uniform(0.5, 12))
        kill(driver)
    assert start().wait(timeout=900) == 0, (checkout / "screen").read_text()
    for run in (f"n-seed{seed}" for seed in (1, 2, 3, 4)):
        folder = checkout / "outputs" / run
        events = [json.loads(line)["event"] for line in (folder / "events.jsonl").open()]
        assert (events.count("started"), events.count("finished")) == (1, 1), events
        lines = [json.loads(line) for line in (folder / "attempts/01-bnb/steps.jsonl").open()]
        assert [line["step"] for line in lines if "loss" in line] == list(range(1, 61))
    assert len({adapter(checkout, f"n-seed{seed}") for seed in (1, 2, 3, 4)}) == 4
