"""Engines as recorded, asked by the real SDK: each fault is said once, with what to type; how much
it matters depends on the runner that was asked for.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sftplay.errors import PermissionDeniedError
from sftplay.host.containers import image_names
from sftplay.host.containers.spec import project_of
from sftplay.host.doctor import engine_facts
from sftplay.host.doctor.findings import MachineFinding
from sftplay.host.doctor.gather import gather
from sftplay.host.doctor.report import judge
from tests.host.doctor.machines import healthy, nvidia_smi
from tests.host.recorded_engine import RECORDED, as_nobody, recorded_engine

ABOUT_IT = {"engine", "image", "gpu", "port"}
CPU, BNB = (image_names.current(stack).tag for stack in ("cpu", "bnb"))
IMAGE = [{"Id": "sha256:1", "RepoTags": [CPU], "Labels": {"sftplay.stack": "cpu"}}]


@pytest.fixture(autouse=True)
def sock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The address of an engine, in a folder of its own: a socket's path may have 107 characters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/e.sock")
    monkeypatch.setenv("SFTPLAY_CACHE", str(tmp_path))
    yield tmp_path / "e.sock"


def look(asked: str = "docker", *, dev: Path = Path("/nonexistent")) -> list[MachineFinding]:
    """Return the doctor's findings about the engine and what depends on it, without those that are
    well.
    """
    found = judge(gather(dev=dev), asked)
    return [finding for finding in found if finding.topic in ABOUT_IT and finding.level != "ok"]


def test_an_engine_with_todays_images_has_no_fault(sock: Path) -> None:
    with recorded_engine(sock, changes={"GET /images/json": IMAGE}):
        facts = gather(dev=Path("/nonexistent"))
    assert facts.engine is not None
    assert (facts.engine.kind, facts.engine.version, facts.engine.api) == (
        "docker",
        "20.10.24+dfsg1",
        "1.41",
    )
    (gpu,) = [
        found
        for found in judge(facts, "docker")
        if found.level != "ok" and found.topic not in ("numerics", "compose")
    ]
    assert (gpu.level, gpu.topic) == ("note", "gpu")  # none here, and that is all right


def trouble(found: list[MachineFinding]) -> MachineFinding:
    (one,) = [finding for finding in found if finding.level in ("warning", "error")]
    return one


@pytest.mark.parametrize(("asked", "level"), [("docker", "error"), ("auto", "warning")])
def test_no_engine_there(sock: Path, asked: str, level: str) -> None:
    one = trouble(look(asked))
    assert (one.level, one.topic) == (level, "engine")
    assert "no container engine answers" in one.said
    assert "systemctl start docker" in one.todo


def test_nobody_listens_on_the_socket(sock: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(sock))
    assert "no container engine answers" in trouble(look()).said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights for this")
def test_no_rights_on_the_socket(sock: Path) -> None:
    with recorded_engine(sock):
        assert (
            engine_facts.query_engine(sock.parent, has_gpu=False).trouble is None
        )  # root may; and all modules are imported now
        sock.chmod(0o600)
        what, todo = as_nobody(lambda: refusal(sock.parent), sock.parent)
    one = trouble(
        judge(healthy(engine=None, engine_trouble=PermissionDeniedError(what, todo=todo)), "docker")
    )
    assert "no access to the container engine's socket" in one.said
    assert "usermod -aG docker" in one.todo


def refusal(root: Path) -> tuple[str, str]:
    problem = engine_facts.query_engine(root, has_gpu=False).trouble
    assert isinstance(problem, PermissionDeniedError)
    return problem.what, problem.todo


@pytest.mark.parametrize("error", ["client-too-new", "client-too-old"])
def test_an_engine_of_another_time(sock: Path, error: str) -> None:
    with recorded_engine(sock, error=error):
        one = trouble(look())
    assert "do not understand each other" in one.said
    assert "client version" in one.said
    assert "20.10 or newer" in one.todo


def test_an_engine_that_the_library_knows_no_more(sock: Path) -> None:
    version = json.loads((RECORDED / "docker-20.10.json").read_text())["GET /version"]
    with recorded_engine(sock, changes={"GET /version": {**version, "ApiVersion": "1.18"}}):
        one = trouble(look())
    assert one.topic == "engine"
    assert "1.24" in one.said
    assert one.todo


@pytest.mark.parametrize(
    ("images", "asked", "level", "said"),
    [
        ([], "docker", "error", "cpu: not here"),
        ([], "auto", "note", "cpu: not here"),
        ([{**IMAGE[0], "RepoTags": ["sftplay/cpu:000000000000"]}], "docker", "error", "another state of this checkout"),
        ([{**IMAGE[0], "RepoTags": ["sftplay/cpu:000000000000"]}], "auto", "warning", "another state of this checkout"),
    ],
)  # fmt: skip
def test_images_that_are_missing_or_stale(
    sock: Path, images: list[dict[str, Any]], asked: str, level: str, said: str
) -> None:
    with recorded_engine(sock, changes={"GET /images/json": images}):
        found = [finding for finding in look(asked) if finding.topic == "image"]
    (one,) = found
    assert one.level == level
    assert said in one.said
    assert "inv image.build cpu" in one.todo


def test_a_stale_image_that_nothing_here_would_use_is_only_noted(sock: Path) -> None:
    old = {
        "Id": "sha256:3",
        "RepoTags": ["sftplay/unsloth:000000000000"],
        "Labels": {"sftplay.stack": "unsloth"},
    }
    with recorded_engine(sock, changes={"GET /images/json": [*IMAGE, old]}):
        found = [finding for finding in look() if finding.topic == "image"]
    assert [finding.level for finding in found] == ["note"]


@pytest.mark.parametrize(
    ("error", "said", "todo"),
    [
        ("", None, None),
        ("no-nvidia", "can't give containers the GPU", "NVIDIA container toolkit"),
        ("no-cdi", "can't give containers the GPU", "NVIDIA container toolkit"),
        ("toolkit-without-driver", "the driver does not answer", "nvidia-smi"),
        ("driver-library-missing", "the driver does not answer", "nvidia-smi"),
        ("disk-full", "disk is full", "docker system df"),
    ],
)  # fmt: skip
def test_whether_containers_get_the_gpu(
    sock: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    said: str | None,
    todo: str | None,
) -> None:
    (tmp_path / "nvidia0").touch()
    nvidia_smi(tmp_path, monkeypatch, "h200")
    images = [*IMAGE, {"Id": "sha256:2", "RepoTags": [BNB], "Labels": {"sftplay.stack": "bnb"}}]
    with recorded_engine(sock, error=error, changes={"GET /images/json": images}) as asked:
        found = look(dev=tmp_path)
    assert ("DELETE /containers/made" in asked) == (error != "disk-full")  # nothing is left behind
    if said is None or todo is None:
        assert found == []
        return
    one = trouble(found)
    assert (one.topic, one.level) == ("gpu", "error")
    assert said in one.said
    assert todo in one.todo


def test_a_gpu_that_does_not_arrive(
    sock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia0").touch()
    nvidia_smi(tmp_path, monkeypatch, "h200")
    changes = {"GET /images/json": IMAGE, "POST /containers/made/wait": {"StatusCode": 1}}
    with recorded_engine(sock, "podman-4.3.json", changes=changes):
        found = [finding for finding in look(dev=tmp_path) if finding.topic == "gpu"]
    assert "the container has none" in trouble(found).said
    assert "--runner local" in trouble(found).todo


def test_rootless_is_said_and_is_no_fault(sock: Path) -> None:
    info = json.loads((RECORDED / "docker-20.10.json").read_text())["GET /info"]
    rootless = {**info, "SecurityOptions": [*info["SecurityOptions"], "name=rootless"]}
    with recorded_engine(sock, changes={"GET /info": rootless, "GET /images/json": IMAGE}):
        found = [finding for finding in look() if finding.topic == "engine"]
    assert [finding.level for finding in found] == ["note"]
    assert "SFTPLAY_UID=0" in found[0].todo


def test_podman_is_called_by_its_name(sock: Path) -> None:
    with recorded_engine(sock, "podman-4.3.json", changes={"GET /images/json": IMAGE}):
        facts = gather(dev=Path("/nonexistent"))
    assert facts.engine is not None
    assert (facts.engine.kind, facts.engine.version) == ("podman", "4.3.1")


@pytest.mark.parametrize("ours", [True, False])
def test_a_port_that_a_container_has(sock: Path, tmp_path: Path, ours: bool) -> None:
    labels = {
        "sftplay.stage": "tensorboard",
        "sftplay.project": project_of(str(tmp_path) if ours else "/other"),
    }
    board = {
        "Names": ["/board"],
        "Labels": labels,
        "Ports": [{"PublicPort": 6006, "PrivatePort": 6006, "Type": "tcp"}],
    }
    with recorded_engine(
        sock, changes={"GET /containers/json": [board], "GET /images/json": IMAGE}
    ):
        found = [finding for finding in look() if finding.topic == "port"]
    if ours:
        assert found == []
    else:
        assert "taken by container board" in trouble(found).said
        assert "inv tensorboard --port" in trouble(found).todo


def test_a_port_that_another_program_has(sock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        Path("configs").mkdir()
        Path("configs/run_bnb.yaml").write_text(f"tensorboard: {{port: {number}}}\n")
        one = trouble(
            [finding for finding in judge(gather(engine=False), "local") if finding.topic == "port"]
        )
    assert f"process {os.getpid()}" in one.said
    assert f"inv tensorboard --port {number + 1}" in one.todo or "--port" in one.todo


@pytest.mark.parametrize(
    ("docker", "standalone", "level", "said"),
    [
        ("v2.40.3", None, "ok", "docker compose 2.40.3"),
        ("2.24.4-desktop.1", None, "ok", "docker compose 2.24.4"),
        (None, "5.6.1", "ok", "docker compose 5.6.1"),
        ("2.24.3", None, "note", "docker compose 2.24.3 is too old"),
        ("1.29.2", None, "note", "docker compose 1.29.2 is too old"),
        (None, None, "note", "docker compose is not here"),
    ],
)
def test_whether_compose_is_there_and_new_enough(
    sock: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    docker: str | None,
    standalone: str | None,
    level: str,
    said: str,
) -> None:
    for name, version in (("docker", docker), ("docker-compose", standalone)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {version}\n" if version else "#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    with recorded_engine(sock, changes={"GET /images/json": IMAGE}):
        facts = gather(dev=Path("/nonexistent"))
    (one,) = [found for found in judge(facts, "auto") if found.topic == "compose"]
    assert (one.level, one.said.startswith(said)) == (level, True)
    assert bool(one.todo) == (level == "note")
    assert [found for found in judge(facts, "local") if found.topic == "compose"] == []
