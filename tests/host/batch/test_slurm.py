"""A batch on a real Slurm cluster of two nodes: a node lost, a job cancelled, a driver killed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.cluster.slurm_cluster import SlurmCluster, missing, slurm_cluster
from tests.host.conftest import CHECKOUT, NO_ENGINE, RunTask, make_environment, stage_python
from tests.host.standin import wait_until

# One CPU for each job: an array of four runs two at a time on each node.
SUBMIT = "--cpus-per-task=1 --mem=500M"


@contextmanager
def started_cluster(tmp_path: Path, checkout: Path) -> Iterator[SlurmCluster]:
    """A cluster whose jobs run tasks of the copy."""
    if reason := missing():
        pytest.skip(reason)
    if not (CHECKOUT / ".venv").is_dir():
        pytest.skip("needs .venv: python3 tasks.py help")
    shutil.copytree(CHECKOUT / ".venv", checkout / ".venv", symlinks=True)
    (tmp_path / "slurm").mkdir()
    with slurm_cluster(tmp_path / "slurm") as started:
        started.environ |= {
            "SFTPLAY_ENVS": str(checkout / ".envs"),
            "DOCKER_HOST": NO_ENGINE,
            "PYTHONPATH": str(checkout),
            "OMP_NUM_THREADS": "1",
        }
        yield started


@pytest.fixture
def cluster(tmp_path: Path, checkout: Path) -> Iterator[SlurmCluster]:
    with started_cluster(tmp_path, checkout) as started:
        yield started


def write_batch(checkout: Path, model: str, seeds: list[int], **values: object) -> None:
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(40)]
    (checkout / "data/raw").mkdir(parents=True)
    (checkout / "data/raw/sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    common = {
        **{"model.name": model, "train.method": "lora", "train.device": "cpu"},
        **{"data.val_share": 0.2, "data.test_share": 0, **values},
    }
    (checkout / "configs/batch.yaml").write_text(
        json.dumps(
            {
                **{"sort_by": "name", "split": "none", "datasets": {"sums": {"raw": "data/raw"}}},
                "experiments": [
                    {"name": "n", "dataset": "sums", "set": common, "matrix": {"train.seed": seeds}}
                ],
            }
        )
    )


def start(cluster: SlurmCluster, checkout: Path, submit: str = SUBMIT) -> subprocess.Popen[bytes]:
    with open(checkout / "screen", "ab") as screen:
        return subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", "batch", "--engine", "slurm", "--runner", "local", "--submit", submit],
            cwd=checkout, env=cluster.environ, stdin=subprocess.DEVNULL, stdout=screen, stderr=screen,
        )  # fmt: skip


def adapter(checkout: Path, run: str) -> str:
    return hashlib.sha256((checkout / f"outputs/{run}/adapter/adapter_model.safetensors").read_bytes()).hexdigest()  # fmt: skip


def test_a_driver_killed_at_any_moment_finds_its_jobs_again_and_submits_none_twice(
    cluster: SlurmCluster, checkout: Path
) -> None:
    """The stage's Python notes each start; it fails with 74, which no batch tries again."""
    (checkout / "model").mkdir()
    (checkout / "model/config.json").write_text("{}")
    note = f'case "$*" in *train*) echo "$*" >> {checkout}/started; sleep 1; exit 74;; esac; exit 0'
    make_environment(checkout / ".envs", note)
    write_batch(checkout, "./model", [1, 2, 3, 4, 5, 6])
    screen, slurm = checkout / "screen", checkout / "outputs/batch-batch/slurm"
    for reached in (
        (slurm / "001.names").exists,  # before or after sbatch: nobody knows
        lambda: (
            b"in Slurm's queue" in screen.read_bytes() or b"queue already" in screen.read_bytes()
        ),
        (checkout / "started").exists,
    ):
        driver = start(cluster, checkout)
        wait_until(reached, "the moment of the kill", 120)
        driver.kill()
        driver.wait()
    last = start(cluster, checkout)
    assert last.wait(timeout=120) == 74, (checkout / "screen").read_text()
    assert b"in the queue already" in screen.read_bytes()
    started = (checkout / "started").read_text().splitlines()
    # a log for each element that Slurm has accepted; a list of names may be that of a driver which
    # was killed before it submitted
    submitted = list(slurm.glob("[0-9][0-9][0-9]/*.log"))
    assert len(started) == len(submitted) >= 6, (checkout / "screen").read_text()
    queue = cluster.run("squeue", "-h")
    assert queue == ""


@pytest.mark.long  # trains four tiny models under Slurm: minutes on a slow machine
def test_a_lost_node_and_a_cancelled_job_cost_no_result(
    cluster: SlurmCluster, checkout: Path, tiny_model: Path
) -> None:
    make_environment(checkout / ".envs", f'exec "{stage_python()}" "$@"')
    write_batch(checkout, str(tiny_model), [1, 2, 3, 4], **{"train.max_steps": 120, "train.save_steps": 5})  # fmt: skip
    driver = start(cluster, checkout)
    runs = [f"n-seed{seed}" for seed in (1, 2, 3, 4)]

    def trains(node: str) -> str:
        """A run that trains on this node, with the number of its job."""
        for run in runs:
            record = checkout / f"outputs/{run}/launch/start-001.json"
            if list((checkout / f"outputs/{run}").glob("attempts/*/checkpoints/*/manifest.json")):
                value = json.loads(record.read_text())
                if value["node"] == node:
                    return str(value["job"]).removeprefix("slurm ")
        return ""

    wait_until(lambda: trains("n1") and trains("n2"), "trainings on both nodes", 400)
    cluster.run("scancel", trains("n1"))
    cluster.kill_node("n2")
    cluster.start_node("n2")
    while driver.poll() is None:  # a requeued job waits two minutes: not here
        for job in cluster.run("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i").split():
            cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
        time.sleep(1)
    assert driver.returncode != 0, (checkout / "screen").read_text()

    again = start(cluster, checkout)
    assert again.wait(timeout=600) == 0, (checkout / "screen").read_text()
    assert len({adapter(checkout, run) for run in runs}) == 4

    interrupted = [run for run in runs if "resumed" in (checkout / f"outputs/{run}/events.jsonl").read_text()]  # fmt: skip
    assert interrupted, (checkout / "screen").read_text()
    before = adapter(checkout, interrupted[0])
    shutil.rmtree(checkout / "outputs" / interrupted[0])
    alone = subprocess.run(
        [sys.executable, "-m", "sftplay.host.cli", "batch", "--only", interrupted[0], "--runner", "local"],
        cwd=checkout, env=cluster.environ, check=False,
    )  # fmt: skip
    assert alone.returncode == 0
    assert adapter(checkout, interrupted[0]) == before  # as if nothing had happened


@pytest.mark.long  # trains a tiny model under Slurm
def test_a_stopped_experiment_is_not_put_into_the_queue_again(
    cluster: SlurmCluster, checkout: Path, tiny_model: Path
) -> None:
    make_environment(checkout / ".envs", f'exec "{stage_python()}" "$@"')
    write_batch(
        checkout, str(tiny_model), [1], **{"train.max_steps": 20_000, "train.save_steps": 5}
    )
    driver = start(cluster, checkout)
    run = checkout / "outputs/n-seed1"
    wait_until(lambda: list(run.glob("attempts/*/checkpoints/*/manifest.json")), "a training", 400)
    stopped = subprocess.run(
        [sys.executable, "-m", "sftplay.host.cli", "stop", "n-seed1"],
        cwd=checkout, env=cluster.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert stopped.returncode == 0, stopped.stderr
    assert driver.wait(timeout=200) == 85, (checkout / "screen").read_text()
    assert cluster.run("squeue", "-h") == ""
    assert len(list((run / "launch").glob("start-*.json"))) == 1


def test_without_slurm_the_batch_says_where_it_can_be_started(
    checkout: Path, run_task: RunTask
) -> None:
    write_batch(checkout, "./model", [1])
    (checkout / "model").mkdir()
    (checkout / "model/config.json").write_text("{}")
    done = run_task("batch", "--engine", "slurm", env={"PATH": "/nowhere"})
    assert done.returncode == 69
    assert "login node" in done.stderr
    assert run_task("batch", "--engine", "fog").returncode == 2
    assert run_task("batch", "--only", "nobody").returncode == 66
