"""How many ranks a training has, and what is refused."""

from __future__ import annotations

import os
from typing import Any

import pytest

from sftplay.errors import ConfigError, MachineError, UsageError
from sftplay.model.ranks.choose import (
    Placement,
    choose_world,
    placement_of,
    refuse_other_launcher,
    use_gpu,
)
from sftplay.settings import Settings


def chosen(gpus: int = 0, method: str = "lora", nodes: int = 1, **train: Any) -> Any:
    backend = train.pop("backend", "bnb")
    settings = Settings.model_validate({"backend": backend, "train": train})
    device = "cuda" if gpus else "cpu"
    return choose_world(settings, device, method, gpus=gpus, at=Placement(nodes))


@pytest.mark.parametrize(
    ("train", "gpus", "nodes", "processes"),
    [
        ({}, 0, 1, 1),
        ({}, 1, 1, 1),
        ({"batch_size": 4}, 4, 1, 4),
        ({"batch_size": 4}, 3, 1, 2),
        ({"batch_size": 5}, 4, 1, 1),
        ({"batch_size": 4, "gradient_accumulation_steps": 4}, 8, 2, 8),
        ({"batch_size": 4}, 4, 2, 2),
        ({"processes": 2}, 0, 1, 2),
        ({"backend": "unsloth"}, 4, 1, 1),
    ],
)
def test_the_largest_number_of_gpus_that_divides_a_step(
    train: dict[str, Any], gpus: int, nodes: int, processes: int
) -> None:
    decision = chosen(gpus, nodes=nodes, **train)
    assert decision.value.processes == processes, decision
    assert decision.reason


def test_gpus_that_stay_unused_are_said() -> None:
    assert "1 of them unused: 4 rows" in chosen(3, batch_size=4).reason


@pytest.mark.parametrize(
    ("gpus", "given", "error", "said"),
    [
        (2, {"processes": 4}, MachineError, "4 ranks need 4 GPUs"),
        (2, {"nodes": 3}, ConfigError, "among 3 ranks"),
        (2, {"shard": "full", "method": "qlora"}, ConfigError, "4-bit"),
        (0, {"shard": "full", "processes": 2}, ConfigError, "requires GPUs"),
        (1, {"shard": "full"}, ConfigError, "at least two ranks"),
        (2, {"backend": "unsloth", "nodes": 2}, ConfigError, "Unsloth trains with one"),
    ],
)
def test_what_can_not_be_is_refused(
    gpus: int, given: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        chosen(gpus, **given)


def test_sharding_over_gpus() -> None:
    assert chosen(2, shard="full").value.sharding == "full"


@pytest.mark.parametrize(
    "options",
    [
        {"nodes": 2},
        {"nodes": 2, "node_rank": 2, "rendezvous": "a:1"},
        {"nodes": 2, "rendezvous": "host"},
        {"node_rank": 1},
    ],
)
def test_a_placement_that_is_not_whole(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        placement_of(options)


def test_a_placement() -> None:
    options = {"nodes": 2, "node_rank": 1, "rendezvous": "10.0.0.1:29500", "interface": "eth0"}
    assert placement_of(options) == Placement(2, 1, "10.0.0.1:29500", "eth0")
    assert placement_of({}) == Placement()


def test_one_process_on_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    said = use_gpu(0, 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2" and said and "2 GPUs are visible" in said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert use_gpu(1, 2) is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_another_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(MachineError, match="one of 4 processes"):
        refuse_other_launcher()
