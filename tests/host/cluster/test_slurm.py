"""The Slurm script: accepted by Slurm, and obeyed by a cluster of two nodes on this machine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftplay.host.cluster.job import ClusterJob
from sftplay.host.cluster.slurm import slurm_script
from sftplay.host.local import environments
from tests.host.cluster.slurm_cluster import SlurmCluster, missing, slurm_cluster
from tests.host.conftest import CHECKOUT, NO_ENGINE, RunTask
from tests.host.standin import wait_until

JOB = ClusterJob("demo", "configs/run_bnb.yaml", "bnb", "/shared/project", "inv launch.slurm")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if reason := missing():
        pytest.skip(reason)
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as started:
        started.environ |= {
            "SFTPLAY_ENVS": str(environments.envs_folder()),
            "DOCKER_HOST": NO_ENGINE,
            "OMP_NUM_THREADS": "1",
        }
        yield started


def bash_accepts(script: str) -> bool:
    return subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("nodes", "image", "second"),
    [(1, "", ""), (4, "", ""), (1, "/a b.sqsh", ""), (1, "/a.sqsh", "/b.sqsh")],
)
def test_every_form_is_a_script_without_left_over_placeholders(
    nodes: int, image: str, second: str
) -> None:
    job = ClusterJob(**{**vars(JOB), "nodes": nodes, "overrides": ("style.prompt=It's $HOME",)})
    script = slurm_script(job, image=image, second=second, reference="registry.example#sftplay")
    assert bash_accepts(script)
    assert "%{" not in script
    assert "'style.prompt=It'\"'\"'s $HOME'" in script  # not expanded by the shell


def test_slurm_accepts_the_script(cluster: SlurmCluster, tmp_path: Path) -> None:
    job = ClusterJob(
        **{**vars(JOB), "project": str(tmp_path), "cpus": 2, "memory": "1G", "gpus": 0}
    )
    (tmp_path / "job").write_text(slurm_script(job))
    done = subprocess.run(
        ["sbatch", "--test-only", str(tmp_path / "job")],
        env=cluster.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "to start at" in done.stderr


def write_script(run_task: RunTask, checkout: Path, model: Path, steps: int, *options: str) -> Path:
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(60)]
    (checkout / "data" / "raw").mkdir(parents=True)
    (checkout / "outputs").mkdir()
    (checkout / "data" / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = [f"model.name={model}", f"train.max_steps={steps}", "train.batch_size=2"]
    values += ["model.max_length=256", "train.method=lora", "train.device=cpu"]
    values += ["data.val_share=0.2", "data.test_share=0", "train.save_steps=1000"]
    values += ["train.precision=fp32"]  # the same numbers to 5 digits, whoever adds them up
    sets = [word for value in values for word in ("--set", value)]
    made = run_task("launch.slurm", "--run", "real", *sets, "--cpus", "1", "--memory", "2G", "--out", "job", *options)  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    script = checkout / "job"
    text = script.read_text()
    assert f"--chdir={checkout}" in text
    return script


@pytest.mark.long  # imports torch twice under Slurm: a minute on a slow machine
@pytest.mark.usefixtures("cpu_env")
def test_a_job_that_is_stopped_is_requeued_and_continues(
    cluster: SlurmCluster, run_task: RunTask, checkout: Path, tiny_model: Path
) -> None:
    if not (CHECKOUT / ".venv").is_dir():
        pytest.skip("needs .venv: python3 tasks.py help")
    shutil.copytree(CHECKOUT / ".venv", checkout / ".venv", symlinks=True)
    script = write_script(run_task, checkout, tiny_model, 300)
    job = re.sub(r"\D", "", cluster.run("sbatch", str(script), check=True))
    run = checkout / "outputs" / "real"
    log = checkout / "outputs" / f"slurm-sftplay-real-{job}.log"
    wait_until((run / "attempts" / "01-bnb" / "progress.json").exists, "first step", 240)

    # What --signal=TERM@300 does five minutes before the limit: every process of the step gets it.
    cluster.run("scancel", "--signal=TERM", job)
    wait_until(lambda: "restarted" in cluster.run("scontrol", "show", "job", job).lower() or "Restarts=1" in cluster.run("scontrol", "show", "job", job), "requeue", 120)  # fmt: skip
    first = json.loads((run / "launch" / "exit-001.json").read_text())
    assert first["code"] == 85, log.read_text()
    cluster.wait_for(job, "COMPLETED", "FAILED", seconds=240)
    assert cluster.state(job) == "COMPLETED", log.read_text()
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert "resumed" in events
    assert json.loads((run / "run.json").read_text())["steps"] == 300


@pytest.mark.long  # imports torch in two trainings under Slurm
@pytest.mark.usefixtures("cpu_env")
def test_two_nodes_train_together_as_one_process_does(
    cluster: SlurmCluster, run_task: RunTask, checkout: Path, tiny_model: Path
) -> None:
    if not (CHECKOUT / ".venv").is_dir():
        pytest.skip("needs .venv: python3 tasks.py help")
    shutil.copytree(CHECKOUT / ".venv", checkout / ".venv", symlinks=True)
    script = write_script(run_task, checkout, tiny_model, 4, "--nodes", "2")
    job = re.sub(r"\D", "", cluster.run("sbatch", str(script), check=True))
    log = checkout / "outputs" / f"slurm-sftplay-real-{job}.log"
    cluster.wait_for(job, "COMPLETED", "FAILED", seconds=400)
    assert cluster.state(job) == "COMPLETED", log.read_text()
    stamp = json.loads((checkout / "outputs/real/backend.json").read_text())
    assert (stamp["world_size"], stamp["nodes"]) == (2, 2)

    words = next(line for line in script.read_text().splitlines() if "tasks.py train" in line)
    words = words.strip().removesuffix("\\").replace("--run real", "--run alone")
    alone = run_task(*shlex.split(words)[2:], env={"SFTPLAY_ENVS": str(environments.envs_folder())})
    assert alone.returncode == 0, alone.stderr
    assert losses(checkout, "real") == pytest.approx(losses(checkout, "alone"), rel=1e-5)


def losses(checkout: Path, run: str) -> list[float]:
    (steps,) = (checkout / "outputs" / run).glob("attempts/*/steps.jsonl")
    values = [json.loads(line) for line in steps.read_text().splitlines()]
    return [float(value["loss"]) for value in values if "loss" in value]
