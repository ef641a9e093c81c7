from __future__ import annotations

from pathlib import Path

import pytest

from sftplay.errors import MachineError, PermissionDeniedError, SftplayError, UsageError
from sftplay.host.containers.available import AvailableImages
from sftplay.host.select.choose import choose_device, choose_lm_eval, choose_runner, choose_stack
from sftplay.host.system.machine import Machine
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
        ("export", True, "unsloth", "cuda", "bnb", "export", "llama.cpp is in this stack only"),
    ],
)
def test_stack(
    stage: str, gpu: bool, backend: str, device: str, present: str, stack: str, because: str
) -> None:
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


NO_ENGINE = AvailableImages(
    problem=PermissionDeniedError("no access to the container engine's socket")
)
HERE = AvailableImages(states={"cpu": "present", "bnb": "stale", "unsloth": "missing"})


@pytest.mark.parametrize(
    ("asked", "stack", "shelf", "runner", "because"),
    [
        ("local", "cpu", HERE, "local", "asked for"),
        ("auto", "cpu", HERE, "docker", "the cpu image is here"),
        ("docker", "cpu", HERE, "docker", "asked for"),
        ("auto", "bnb", HERE, "local", "another state of this checkout: inv image.build bnb"),
        (
            "auto",
            "unsloth",
            HERE,
            "local",
            "image is missing: inv image.build unsloth, or inv image.pull unsloth",
        ),
        ("auto", "cpu", NO_ENGINE, "local", "no access"),
    ],
)
def test_runner(asked: str, stack: str, shelf: AvailableImages, runner: str, because: str) -> None:
    decision = choose_runner(asked, stack, shelf)
    assert decision.value == runner
    assert because in decision.reason


@pytest.mark.parametrize(
    ("stack", "shelf", "code", "text"),
    [
        ("bnb", HERE, 69, "another state"),
        ("unsloth", HERE, 69, "image is missing"),
        ("cpu", NO_ENGINE, 77, "no access"),
    ],
)
def test_docker_that_can_not_be_had_says_what_is_missing(
    stack: str, shelf: AvailableImages, code: int, text: str
) -> None:
    with pytest.raises(SftplayError, match=text) as failure:
        choose_runner("docker", stack, shelf)
    assert failure.value.code == code


def test_an_unknown_runner_is_a_wrong_command_line() -> None:
    with pytest.raises(UsageError, match="podman"):
        choose_runner("podman", "cpu", HERE)


def test_a_run_is_evaluated_in_the_backend_that_it_ended_in() -> None:
    decision = choose_stack(
        BY_NAME["eval"], settings(backend="unsloth"), machine(gpu=True), frozenset(), "bnb"
    )
    assert decision.value == "bnb"


def test_data_stages_run_in_whatever_is_present() -> None:
    assert (
        choose_stack(BY_NAME["process"], settings(), machine(), frozenset({"bnb"})).value == "bnb"
    )
    assert (
        choose_stack(BY_NAME["process"], settings(), machine(), frozenset({"bnb", "cpu"})).value
        == "cpu"
    )


def test_a_hub_model_is_fetched_in_whatever_is_present() -> None:
    hub = settings(model={"name": "owner/model"})
    assert choose_stack(BY_NAME["fetch"], hub, machine(gpu=True), frozenset({"bnb"})).value == "bnb"
    assert (
        choose_stack(BY_NAME["fetch"], settings(), machine(gpu=True), frozenset({"bnb"})).value
        == "cpu"
    )


def test_lm_eval_has_environments_and_no_image() -> None:
    assert choose_lm_eval(settings(), machine()).value == "lm-eval"
    assert choose_lm_eval(settings(backend="unsloth"), machine(gpu=True)).value == "lm-eval-cuda"
    on_cpu = settings(train={"device": "cpu"})
    assert choose_lm_eval(on_cpu, machine(gpu=True)).value == "lm-eval"
    shelf = AvailableImages(states={"cpu": "present"})
    assert choose_runner("auto", "lm-eval", shelf).value == "local"
    assert choose_runner("auto", "lm-eval", shelf, "/usr/bin/python3").value == "active"
    with pytest.raises(MachineError, match="there is no image"):
        choose_runner("docker", "lm-eval", shelf)
