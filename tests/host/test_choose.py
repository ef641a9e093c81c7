from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import MachineError, UsageError
from sftplay.host.choose import choose_device, choose_runner, choose_stack
from sftplay.host.machine import Machine
from sftplay.settings import Settings
from sftplay.stages import BY_NAME


def machine(*, gpu: bool = False, docker: bool = False) -> Machine:
    return Machine(
        system="Linux",
        arch="x86_64",
        nvidia=("/dev/nvidia0",) if gpu else (),
        cores=2,
        memory=8 << 30,
        free_disk=100 << 30,
        docker_socket=Path("/var/run/docker.sock") if docker else None,
    )


def settings(**values: object) -> Settings:
    return Settings.model_validate(values)


@pytest.mark.parametrize(
    ("stage", "gpu", "backend", "device", "present", "stack", "because"),
    [
        ("process", False, "bnb", "auto", "", "cpu", "no GPU needed"),
        ("train", False, "bnb", "auto", "cpu", "cpu", "no NVIDIA GPU"),
        ("eval", False, "unsloth", "auto", "", "cpu", "no NVIDIA GPU"),
        ("train", True, "bnb", "auto", "", "bnb", "/dev/nvidia0"),
        ("train", True, "unsloth", "auto", "", "unsloth", "backend: unsloth"),
        ("infer", True, "bnb", "cuda", "", "bnb", "train.device: cuda"),
        ("train", True, "bnb", "cpu", "bnb", "cpu", "train.device: cpu"),
        ("process", True, "unsloth", "auto", "bnb", "bnb", "present"),
        ("process", True, "unsloth", "auto", "unsloth", "cpu", "no GPU needed"),
        ("merge", True, "bnb", "auto", "", "cpu", "no GPU needed"),
        ("fetch", True, "bnb", "auto", "bnb", "cpu", "default model's package"),
    ],
)
def test_stack(stage: str, gpu: bool, backend: str, device: str, present: str, stack: str, because: str) -> None:
    decision = choose_stack(
        BY_NAME[stage],
        settings(backend=backend, train={"device": device}),
        machine(gpu=gpu),
        frozenset(present.split()),
    )
    assert decision.value == stack
    assert because in decision.reason


def test_a_gpu_that_was_asked_for_and_is_not_here_is_an_error() -> None:
    with pytest.raises(MachineError, match="no NVIDIA GPU") as failure:
        choose_device(settings(train={"device": "cuda"}), machine())
    assert "train.device=cpu" in failure.value.todo


@pytest.mark.parametrize("docker", [True, False])
@pytest.mark.parametrize("asked", ["auto", "local"])
def test_runner_is_local_while_there_are_no_images(asked: str, docker: bool) -> None:
    assert choose_runner(asked, machine(docker=docker)).value == "local"


@pytest.mark.parametrize(("docker", "lacking"), [(True, "no images"), (False, "no container engine")])
def test_docker_that_can_not_be_had_says_what_is_missing(docker: bool, lacking: str) -> None:
    with pytest.raises(MachineError, match=lacking):
        choose_runner("docker", machine(docker=docker))


def test_an_unknown_runner_is_a_wrong_command_line() -> None:
    with pytest.raises(UsageError, match="podman"):
        choose_runner("podman", machine())
