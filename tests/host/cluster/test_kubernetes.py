from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sftplay.errors import EXIT_MEANINGS
from sftplay.host.cluster.job import FINAL, STOPPED, ClusterJob
from sftplay.host.cluster.kubernetes import kubernetes_manifest, takeover_manifest
from sftplay.host.containers.spec import ContainerSpec
from sftplay.host.containers.variables import ENVIRONMENT
from tests.host.conftest import RunTask

IMAGE = "registry.example/sftplay/bnb@sha256:" + "a" * 64
JOB = ClusterJob("my_run.2", "configs/run_bnb.yaml", "bnb", "/p", "inv launch.k8s")


def manifests(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


def job_of(text: str) -> dict[str, Any]:
    (found,) = [one for one in manifests(text) if one and one["kind"] == "Job"]
    return found


def test_a_pod_has_no_more_rights_than_a_container_of_ours() -> None:
    pod = job_of(kubernetes_manifest(JOB, IMAGE, claim="c"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ours = ContainerSpec("i", "n", (), "1:1", {}, (), {})
    assert container["securityContext"]["readOnlyRootFilesystem"] == ours.read_only
    assert tuple(container["securityContext"]["capabilities"]["drop"]) == ours.cap_drop
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] == ours.stop_timeout
    values = {one["name"]: one["value"] for one in container["env"]}
    assert ENVIRONMENT.items() <= values.items()
    assert values["HF_HUB_OFFLINE"] == "1"
    assert container["image"] == IMAGE


def test_ends_that_another_try_can_change_are_tried_again_and_no_others() -> None:
    policy = job_of(kubernetes_manifest(JOB, IMAGE, claim="c"))["spec"]["podFailurePolicy"]
    codes = policy["rules"][1]["onExitCodes"]["values"]
    again = {STOPPED, 69, 74, 75, 130, 143}  # a stop, the machine, a full disk, a busy run
    assert set(codes) == {code for code in EXIT_MEANINGS if 1 < code < 128} - again
    assert set(codes) == set(FINAL)


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_has_begun_is_resumed(tmp_path: Path, begun: bool) -> None:
    (script,) = job_of(kubernetes_manifest(JOB, IMAGE, claim="c"))["spec"]["template"]["spec"]["containers"][0]["args"]  # fmt: skip
    (tmp_path / "outputs" / JOB.run).mkdir(parents=True)
    if begun:
        (tmp_path / "outputs" / JOB.run / "backend.json").touch()
    assert words(script, tmp_path).endswith(" --resume") == begun


def test_bitsandbytes_takes_over_from_the_newest_unsloth_attempt_and_then_resumes(
    tmp_path: Path,
) -> None:
    text = takeover_manifest(JOB, IMAGE, claim="c")
    assert job_of(text)["metadata"]["name"] == "sftplay-my-run-2-bnb"
    (script,) = job_of(text)["spec"]["template"]["spec"]["containers"][0]["args"]
    attempts = tmp_path / "outputs" / JOB.run / "attempts"
    for name in ("01-unsloth", "02-unsloth"):
        (attempts / name).mkdir(parents=True)
    assert words(script, tmp_path).endswith("--handed-over-from 02-unsloth")
    (attempts / "03-bnb").mkdir()
    assert words(script, tmp_path).endswith("--resume")


def words(script: str, folder: Path) -> str:
    """What the script would start: with `python` replaced by echo."""
    echoing = script.replace("exec python", "exec echo")
    done = subprocess.run(
        ["sh", "-c", echoing], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_several_nodes_meet_at_the_first_one() -> None:
    text = kubernetes_manifest(ClusterJob(**{**vars(JOB), "nodes": 3}), IMAGE, claim="c")
    service, job = manifests(text)
    name = service["metadata"]["name"]
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["template"]["spec"]["subdomain"] == name
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 3
    script = job["spec"]["template"]["spec"]["containers"][0]["args"][0]
    assert f"--rendezvous {name}-0.{name}:29400" in script
    assert '--node-rank "$JOB_COMPLETION_INDEX"' in script


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["configs/none.yaml"], 66, "no such config file"),
        (["nobody"], 66, "neither a run nor a config file"),
        (["--image", "registry.example/x:latest"], 2, "no image by digest"),
        ([], 69, "not published"),
        (["--time", "soon"], 2, "--time soon is no time"),
        (["--memory", "much"], 2, "--memory much is no size"),
        (["--nodes", "0"], 2, "--nodes is 0"),
        (["--set", "train.lr=x"], 78, "train.lr"),
    ],
)
def test_what_can_not_be_submitted_is_said_and_nothing_is_written(
    run_task: RunTask, checkout: Path, argv: list[str], code: int, said: str
) -> None:
    done = run_task("launch.k8s", *argv, "--out", "job.yaml")
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (checkout / "job.yaml").exists()
