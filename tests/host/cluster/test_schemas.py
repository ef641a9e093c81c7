"""Manifests, checked by programs that know their schemas and share no code with ours."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sftplay.files import hash_file
from sftplay.host.system.uv import find_uv
from tests.host.conftest import CHECKOUT, RunTask

pytestmark = pytest.mark.long  # about 430 MB of packages, and SkyPilot takes 20 s to import

IMAGE = "registry.example/sftplay/{}@sha256:" + "a" * 64
LOCK = CHECKOUT / "images" / "cluster-test.lock"


@pytest.fixture(scope="session")
def checkers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of programs of an environment made from images/cluster-test.lock."""
    venv = tmp_path_factory.mktemp("checkers") / hash_file(LOCK)[-12:]
    uv = str(find_uv())
    for argv in (
        [uv, "venv", "-q", "--python", "3.11", str(venv)],
        [uv, "pip", "install", "-q", "--require-hashes", "--python", str(venv), "-r", str(LOCK)],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the checkers can't be installed: {done.stderr[-300:]}")
    yield venv / "bin"


def write(run_task: RunTask, *argv: str) -> None:
    done = run_task(*argv)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("nodes", ["1", "3"])
def test_kubernetes_accepts_the_manifests_and_no_misspelled_key(
    run_task: RunTask, checkout: Path, checkers: Path, nodes: str
) -> None:
    images = ["--image", IMAGE.format("unsloth"), "--second", IMAGE.format("bnb")]
    write(run_task, "launch.k8s", "configs/run_unsloth.yaml", "--nodes", nodes, "--gpus", "2", *images, "--out", "job.yaml")  # fmt: skip
    files = [checkout / "job.yaml", checkout / "job-bnb.yaml"]
    check = [str(checkers / "kubernetes-validate"), "--strict"]
    done = subprocess.run([*check, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("passed") == (2 if nodes == "1" else 4)

    wrong = checkout / "wrong.yaml"
    wrong.write_text(files[0].read_text().replace("podFailurePolicy", "podFailurePolicies"))
    assert subprocess.run([*check, str(wrong)], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("nodes", ["1", "2"])
def test_skypilot_accepts_the_task(
    run_task: RunTask, checkout: Path, checkers: Path, tmp_path: Path, nodes: str
) -> None:
    write(run_task, "launch.sky", "--nodes", nodes, "--gpus", "2", "--out", "task.yaml")
    script = (
        "import sky, sys; t = sky.Task.from_yaml(sys.argv[1]); print(t.num_nodes, *t.resources)"
    )
    done = subprocess.run(
        [str(checkers / "python"), "-c", script, str(checkout / "task.yaml")],
        env={"HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "PATH": "/usr/bin:/bin"},
        cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(nodes)
    assert "'L4': 2" in done.stdout
    assert yaml.safe_load((checkout / "task.yaml").read_text())["num_nodes"] == int(nodes)
