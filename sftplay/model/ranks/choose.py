"""Choice of the number of ranks, with the reason; what can't be is refused before any work."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftplay.decision import Decision
from sftplay.errors import ConfigError, MachineError, UsageError
from sftplay.ranks import World
from sftplay.settings import Settings, fitting_counts

_ADDRESS = re.compile(r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")


@dataclass(frozen=True)
class Placement:
    """Place of this machine among those of a training.

    Attributes:
        rendezvous: HOST:PORT of machine 0; None where there is one machine.
    """

    nodes: int = 1
    node: int = 0
    rendezvous: str | None = None
    interface: str | None = None


def placement_of(options: Mapping[str, Any]) -> Placement:
    """Read the placement from a stage's options.

    Raises:
        UsageError: they contradict each other, or one is missing (2).
    """
    nodes, node = options.get("nodes") or 1, options.get("node_rank") or 0
    rendezvous, interface = options.get("rendezvous"), options.get("interface")
    if nodes < 1 or not 0 <= node < nodes:
        raise UsageError(
            f"--node-rank {node} of --nodes {nodes}",
            todo="machines are numbered from 0: --nodes 2 --node-rank 0 and --node-rank 1",
        )
    if nodes > 1 and not _ADDRESS.match(rendezvous or ""):
        raise UsageError(
            f"--nodes {nodes} requires --rendezvous HOST:PORT, got {rendezvous or 'nothing'}",
            todo="name machine 0 as the others reach it, with a free port: --rendezvous 10.0.0.1:29500",
        )
    return Placement(nodes, node, rendezvous if nodes > 1 else None, interface)


def refuse_other_launcher() -> None:
    """Refuse to be one of several processes that somebody else started.

    Raises:
        MachineError: started by torchrun, accelerate or the like (69).
    """
    size = os.environ.get("WORLD_SIZE") or "1"
    if size != "1":
        raise MachineError(
            f"started as one of {size} processes by another launcher",
            todo="start it once, without torchrun or accelerate launch: --set train.processes=N starts N",
        )


def visible_gpus() -> list[str]:
    """GPUs that this process may use, by the words of CUDA_VISIBLE_DEVICES."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        return [str(number) for number, _ in enumerate(sorted(Path("/dev").glob("nvidia[0-9]*")))]
    return [word for word in seen.split(",") if word]


def choose_world(
    settings: Settings, device: str, method: str, *, gpus: int, at: Placement
) -> Decision[World]:
    """Return the ranks of a training. Pure.

    Args:
        device: `cuda` or `cpu`; method: what `train.method` stands for there.
        gpus: those of this machine. at: this machine's place among several.

    Raises:
        ConfigError: these settings and this number of ranks exclude each other (78).
        MachineError: fewer GPUs than ranks (69).
    """
    train = settings.train
    processes, why = _processes(settings, device, gpus, at.nodes)
    world = World(processes, at.nodes, at.node, train.shard)
    if world.size > 1 and settings.backend == "unsloth":
        raise ConfigError(
            f"Unsloth trains with one process, and {world} are asked for",
            where="train.processes",
            todo="--set train.processes=1; or BitsAndBytes, which trains on several GPUs: --set backend=bnb",
        )
    if train.rows_per_step % world.size:
        raise ConfigError(
            f"{train.rows_per_step} rows of an optimizer step (batch_size × "
            f"gradient_accumulation_steps) can't be divided among {world.size} ranks",
            where="train.processes",
            todo=f"{_would_do(train.rows_per_step, world)}; or change train.batch_size",
        )
    if device == "cuda" and gpus and processes > gpus:
        raise MachineError(
            f"{processes} ranks need {processes} GPUs, and {gpus} are visible here",
            todo=f"--set train.processes={max(gpus, 1)}, or auto",
        )
    if train.shard == "full":
        _check_sharding(world, device, method)
    return Decision(world, why)


def _processes(settings: Settings, device: str, gpus: int, nodes: int) -> tuple[int, str]:
    asked = settings.train.processes
    if isinstance(asked, int):
        return asked, "asked for"
    if settings.backend == "unsloth":
        return 1, "auto: Unsloth trains with one process"
    if device == "cpu":
        return 1, "auto: one process uses all cores of a CPU"
    rows, count = settings.train.rows_per_step, settings.train.ranks_on(gpus, nodes)
    left = f", {gpus - count} of them unused: {rows} rows of a step" if count < gpus else ""
    return count, f"auto: {gpus} GPU{'s' if gpus != 1 else ''}{left}"


def _would_do(rows: int, world: World) -> str:
    fits = [count for count in fitting_counts(rows) if count % world.nodes == 0]
    per_node = [str(count // world.nodes) for count in fits]
    return (
        f"train.processes that would do: {', '.join(per_node)}"
        if per_node
        else f"no number of ranks on {world.nodes} machines would do"
    )


def _check_sharding(world: World, device: str, method: str) -> None:
    if method == "qlora":
        raise ConfigError(
            "train.shard: full does not work with a 4-bit base: its weights stay whole on each GPU",
            where="train.shard",
            todo="leave train.shard out: each GPU then holds the 4-bit base; or --set train.method=lora",
        )
    if device != "cuda":
        raise ConfigError(
            "train.shard: full requires GPUs: on a CPU every rank shares the same memory",
            where="train.shard",
            todo="--set train.shard=none",
        )
    if world.size == 1:
        raise ConfigError(
            "train.shard: full requires at least two ranks, and there is one",
            where="train.shard",
            todo="--set train.shard=none, or more GPUs",
        )


def use_gpu(local_rank: int, processes: int) -> str | None:
    """Let this process see one GPU of those that are visible. Before torch looks at them.

    Returns:
        A line for people where several are visible and one process trains.
    """
    seen = visible_gpus()
    if len(seen) < 2:
        return None
    os.environ["CUDA_VISIBLE_DEVICES"] = seen[local_rank % len(seen)]
    if processes > 1:
        return None
    return f"{len(seen)} GPUs are visible; sftplay trains on one: GPU {seen[0]}"
