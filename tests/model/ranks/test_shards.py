"""A model divided by FSDP2 between two processes on the CPU: its states are those of a whole one.

accelerate divides models on GPUs only; this is torch's own `fully_shard`, which it calls there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import start_processes

from sftplay.model.ranks.collectives import join
from sftplay.model.ranks.meeting import free_port
from sftplay.model.ranks.shards import (
    load_whole_optimizer,
    load_whole_weights,
    local_part,
    whole_states,
)
from sftplay.ranks import World


def made() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    model[0].bias.requires_grad_(False)
    return model, None


def stepped(model: Any, optimizer: Any) -> None:
    torch.manual_seed(1)
    model(torch.randn(8, 6)).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def optimizer_of(model: Any) -> Any:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    join(World(2), "cpu", 60)
    mesh = dist.init_device_mesh("cpu", (2,))
    model, _ = made()
    fully_shard(model, mesh=mesh)
    optimizer = optimizer_of(model)
    stepped(model, optimizer)
    weights, states = whole_states(model, optimizer)
    assert bool(weights) == (rank == 0)
    if rank == 0:
        assert "0.bias" not in weights  # frozen: not trained, not saved
        torch.save((weights, states), f"{folder}/states.pt")
    dist.barrier()
    weights, states = torch.load(f"{folder}/states.pt", weights_only=True)
    other, _ = made()
    fully_shard(other, mesh=mesh)
    second = optimizer_of(other)
    load_whole_weights(other, weights)
    load_whole_optimizer(other, second, states)
    stepped(model, optimizer)
    stepped(other, second)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(local_part(one), local_part(two))
        assert local_part(one).numel() < one.numel() or one.shape[0] == 1
    dist.destroy_process_group()


def test_states_of_a_divided_model_are_whole_and_load_again(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    # not forked: this process may have threads of torch's by now, whose locks nobody would free
    start_processes(_rank, (free_port(), str(tmp_path)), nprocs=2, start_method="spawn")
    weights, states = torch.load(tmp_path / "states.pt", weights_only=True)
    model, _ = made()
    optimizer = optimizer_of(model)
    stepped(model, optimizer)
    for name, weight in weights.items():
        assert torch.allclose(weight, dict(model.named_parameters())[name], atol=1e-6), name
    assert states["state"]["2.weight"]["exp_avg"].shape == (3, 5)
