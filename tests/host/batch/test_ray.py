"""A batch on a real Ray cluster of two nodes: a node lost, a driver killed, wrong addresses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sftplay.host.local import environments
from sftplay.host.system.uv import find_uv
from tests.host.batch.test_slurm import adapter, write_batch
from tests.host.conftest import CHECKOUT, NO_ENGINE, make_environment, stage_python
from tests.host.ray.ray_cluster import RayCluster, missing, ray_cluster
from tests.host.standin import wait_until

TASK = [sys.executable, "-m", "sftplay.host.cli"]


@contextmanager
def started_cluster(checkout: Path, nodes: Sequence[str] = ("n1", "n2")) -> Iterator[RayCluster]:
    """A cluster whose experiments run tasks of the copy."""
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
        ray_cluster(Path(folder), checkout, environ, TASK, nodes) as started,
    ):
        yield started


@pytest.fixture
def cluster(checkout: Path) -> Iterator[RayCluster]:
    with started_cluster(checkout) as started:
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


def screen_of(cluster: RayCluster, *argv: str) -> tuple[int, str]:
    """Run a task in the namespace. Returns its exit code and what it printed."""
    done = subprocess.run(
        cluster.inside(*TASK, *argv), env=cluster.environ, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long  # needs Ray's environment and two agents
def test_an_experiment_is_shown_stopped_and_continued_where_it_runs(
    cluster: RayCluster, checkout: Path, tiny_model: Path
) -> None:
    make_environment(checkout / ".envs", f'exec "{stage_python()}" "$@"')
    write_batch(checkout, str(tiny_model), [1, 2], **{"train.max_steps": 400, "train.save_steps": 5})  # fmt: skip
    driver = start(cluster)
    folder = checkout / "outputs/n-seed1"
    wait_until(
        lambda: bool(list(folder.glob("attempts/*/checkpoints/*/manifest.json"))), "training", 300
    )
    node = json.loads((folder / "launch/start-001.json").read_text())["node"]
    for shown in ("ps", "status"):
        code, said = screen_of(cluster, shown)
        assert code == 0 and "n-seed1" in said and f"ray batch-batch on {node}" in said, said
    assert "step" in screen_of(cluster, "logs", "n-seed1")[1]

    second, said = screen_of(cluster, "batch", "--engine", "ray", "--address", cluster.address)
    assert second == 75 and "a batch" in said  # two drivers on one batch

    code, said = screen_of(cluster, "stop", "n-seed1")
    assert code == 0 and "checkpoint is written" in said, said
    assert driver.wait(timeout=600) == 85, (checkout / "screen").read_text()
    assert "n-seed2: done" in (checkout / "screen").read_text()
    assert start(cluster).wait(timeout=600) == 0, (checkout / "screen").read_text()
    assert adapter(checkout, "n-seed1") != adapter(checkout, "n-seed2")


@pytest.mark.long  # needs Ray's environment and two agents
def test_a_node_that_leaves_and_a_head_that_is_gone_cost_no_result(
    cluster: RayCluster, checkout: Path, tiny_model: Path
) -> None:
    make_environment(checkout / ".envs", f'exec "{stage_python()}" "$@"')
    write_batch(checkout, str(tiny_model), [1, 2], **{"train.max_steps": 600, "train.save_steps": 20})  # fmt: skip
    driver = start(cluster)
    runs = [checkout / f"outputs/n-seed{seed}" for seed in (1, 2)]
    for run in runs:
        wait_until((run / "attempts/01-bnb/progress.json").exists, "training", 300)
    assert cluster.stop_node("n2") == 0  # Ctrl-C in its terminal
    wait_until(lambda: b"is submitted again" in (checkout / "screen").read_bytes(), "loss", 120)
    cluster.stop_node("n1")
    assert driver.wait(timeout=300) == 69, (checkout / "screen").read_text()
    assert "does not answer" in (checkout / "screen").read_text()
    for name in ("n1", "n2"):
        cluster.start_node(name, task=TASK)
    assert start(cluster).wait(timeout=900) == 0, (checkout / "screen").read_text()
    for run in runs:
        events = (run / "events.jsonl").read_text()
        assert events.count('"started"') == events.count('"finished"') == 1
    assert adapter(checkout, "n-seed1") != adapter(checkout, "n-seed2")


@pytest.mark.long  # needs Ray's environment and an agent
def test_a_cluster_that_is_not_fit_is_refused_before_anything_starts(
    checkout: Path,
) -> None:
    (checkout / "model").mkdir()
    (checkout / "model/config.json").write_text("{}")
    make_environment(checkout / ".envs", "exit 0")
    write_batch(checkout, "./model", [1])
    (checkout / "other").mkdir()
    hidden = ["unshare", "-m", "sh", "-c"]
    with started_cluster(checkout, nodes=["n1"]) as cluster:
        batch = ("batch", "--engine", "ray", "--address")

        began = time.monotonic()
        code, said = screen_of(cluster, *batch, "10.99.0.1:1")
        assert code == 69 and "nobody answers at 10.99.0.1:1" in said
        assert time.monotonic() - began < 60  # starting Python included, on a busy machine

        # another token
        done = subprocess.run(
            cluster.inside(*TASK, *batch, cluster.address),
            env={**cluster.environ, "RAY_AUTH_TOKEN": "0" * 64}, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 69 and "another token" in done.stderr, done.stderr

        # a config that asks for a GPU
        code, said = screen_of(cluster, *batch, cluster.address, "--device", "cuda")
        assert code == 69 and "asks for 1 GPUs" in said, said

        # the folder is another one on a node: its `outputs` is covered by another folder there
        cover = f'mount --bind {checkout}/other {checkout}/outputs && exec "$@"'
        cluster.start_node("n2", task=[*hidden, cover, "sh", *TASK])
        code, said = screen_of(cluster, *batch, cluster.address)
        assert code == 69 and "n2:" in said and "same path" in said, said
        cluster.stop_node("n2")

        # a node without the environments
        cover = f'mount -t tmpfs none {checkout}/.venv && exec "$@"'
        cluster.start_node("n2", task=[*hidden, cover, "sh", *TASK])
        code, said = screen_of(cluster, *batch, cluster.address)
        assert code == 69 and f"n2: it has no {checkout}/.venv/bin/python" in said, said
    assert not (checkout / "outputs/n-seed1").exists()


@pytest.mark.long  # needs Ray's environment, once more in another Python
def test_another_python_or_ray_is_refused_on_a_node_and_by_the_driver(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "model").mkdir()
    (checkout / "model/config.json").write_text("{}")
    make_environment(checkout / ".envs", "exit 0")
    write_batch(checkout, "./model", [1])
    name, made = environments.ensure("ray").folder.name, _other_ray(tmp_path)
    with started_cluster(checkout, nodes=["n1"]) as cluster:
        batch = ("batch", "--engine", "ray", "--address")

        # another Ray or Python: the agent does not become a node
        other = tmp_path / "envs"
        other.mkdir()
        (other / name).symlink_to(made)
        (other / "ray.token").write_bytes((checkout / ".envs/ray.token").read_bytes())
        done = subprocess.run(
            cluster.inside(*TASK, "ray.agent", "--address", cluster.address, "--ip", "10.99.0.2", "--first-port", "6500"),
            env={**cluster.environ, "SFTPLAY_ENVS": str(other)}, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 69, done.stdout + done.stderr
        assert "Version mismatch" in done.stderr and "same Ray and Python" in done.stderr
        # and a driver of another Python is refused too
        done = subprocess.run(
            cluster.inside(*TASK, *batch, cluster.address),
            env={**cluster.environ, "SFTPLAY_ENVS": str(other)}, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 69 and "another Ray or Python" in done.stderr, done.stderr


def _other_ray(tmp_path: Path) -> Path:
    """An environment from the same lock with another Python."""
    folder, lock = tmp_path / "other-ray", CHECKOUT / "images/ray.lock"
    uv = str(find_uv())
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [*map(str, versions.glob("3.12.*/bin/python3.12")), "3.12"]
    for argv in (
        [uv, "venv", "-q", "--python", found[0], str(folder)],
        [uv, "pip", "install", "-q", "--require-hashes", "--python", str(folder), "-r", str(lock)],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"Ray can't be installed in another Python: {done.stderr[-300:]}")
    marker = json.loads((environments.ensure("ray").folder / "sftplay.json").read_text())
    (folder / "sftplay.json").write_text(json.dumps({**marker, "contents": []}))
    return folder
