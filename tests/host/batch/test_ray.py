"""A batch on a real Ray cluster of two nodes: a node lost, a driver killed, wrong addresses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftplay.host.local import environments
from tests.host.batch.test_slurm import adapter, write_batch
from tests.host.conftest import CHECKOUT, NO_ENGINE, make_environment, stage_python
from tests.host.ray.ray_cluster import RayCluster, missing, ray_cluster
from tests.host.standin import wait_until

TASK = [sys.executable, "-m", "sftplay.host.cli"]


@pytest.fixture
def cluster(checkout: Path) -> Iterator[RayCluster]:
    if reason := missing():
        pytest.skip(reason)
    if not (CHECKOUT / ".venv").is_dir():
        pytest.skip("needs .venv: python3 tasks.py help")
    shutil.copytree(CHECKOUT / ".venv", checkout / ".venv", symlinks=True)
    made = environments.ensure("ray").folder
    (checkout / ".envs").mkdir(exist_ok=True)
    (checkout / ".envs" / made.name).symlink_to(made)
    environ = {
        **os.environ,
        "SFTPLAY_ENVS": str(checkout / ".envs"),
        "DOCKER_HOST": NO_ENGINE,
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
    }
    # the paths of Ray's sockets may have 107 characters
    with (
        tempfile.TemporaryDirectory(prefix="sr-") as folder,
        ray_cluster(Path(folder), checkout, environ, TASK) as started,
    ):
        yield started


def start(cluster: RayCluster, *more: str) -> subprocess.Popen[bytes]:
    with open(cluster.project / "screen", "ab") as screen:
        return subprocess.Popen(
            cluster.inside(*TASK, "batch", "--engine", "ray", "--address", cluster.address, "--runner", "local", *more),
            env=cluster.environ, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
        )  # fmt: skip


@pytest.mark.long  # trains four tiny models under Ray: minutes on a slow machine
def test_a_lost_node_costs_no_result(cluster: RayCluster, checkout: Path, tiny_model: Path) -> None:
    make_environment(checkout / ".envs", f'exec "{stage_python()}" "$@"')
    write_batch(checkout, str(tiny_model), [1, 2, 3, 4], **{"train.max_steps": 120, "train.save_steps": 5})  # fmt: skip
    driver = start(cluster)
    runs = [f"n-seed{seed}" for seed in (1, 2, 3, 4)]

    def trained_on(node: str) -> str:
        """A run with a checkpoint on this node."""
        for run in runs:
            folder = checkout / f"outputs/{run}"
            saved = list(folder.glob("attempts/*/checkpoints/*/manifest.json"))
            if saved and f'"node": "{node}"' in (folder / "launch/start-001.json").read_text():
                return run
        return ""

    wait_until(lambda: bool(trained_on("n2")) or driver.poll() is not None, "training on n2", 300)
    interrupted = trained_on("n2")
    assert interrupted, (checkout / "screen").read_text()
    cluster.raylet("n2").kill()
    assert driver.wait(timeout=900) == 0, (checkout / "screen").read_text()
    second = (checkout / f"outputs/{interrupted}/launch/start-002.json").read_text()
    assert '"node": "n1"' in second
    assert len({adapter(checkout, run) for run in runs}) == 4

    before = adapter(checkout, interrupted)
    shutil.rmtree(checkout / "outputs" / interrupted)
    alone = subprocess.run(
        [*TASK, "batch", "--only", interrupted, "--runner", "local"],
        cwd=checkout, env=cluster.environ, check=False,
    )  # fmt: skip
    assert alone.returncode == 0
    assert adapter(checkout, interrupted) == before  # as if nothing had happened
