"""`launch.*`: one training as a script or manifest for a cluster; `ray.agent`: a node of one."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from invoke.context import Context

from sftplay.host.cli.task import only, task, whole_number

if TYPE_CHECKING:
    from sftplay.host.cluster.job import ClusterJob

_RESOURCES = {
    "target": "a run, or a config file (default: configs/run_bnb.yaml)",
    "run": "name of the run (default: the config's)",
    "set": "change one config value; may be repeated",
    "nodes": "machines of the training (default: 1)",
    "gpus": "GPUs of each (default: train.processes, else 1; 0 for a config with train.device: cpu)",
    "cpus": "CPU cores of each (default: 8)",
    "memory": "memory of each, for example 64G (default: 32G)",
    "time": "limit as [days-]hours:minutes:seconds (default: 24:00:00)",
    "out": "the file to write (default: sftplay-RUN with the kind's ending)",
}


def _job(
    target: list[str] | None,
    run: str | None,
    overrides: list[str] | None,
    nodes: str | None,
    gpus: str | None,
    cpus: str | None,
    memory: str | None,
    time: str | None,
) -> ClusterJob:
    from sftplay.host.cluster.job import describe_job

    return describe_job(
        only(target or []) or "configs/run_bnb.yaml",
        command=shlex.join(["inv", *sys.argv[1:]]),
        overrides=overrides or (),
        run=run,
        nodes=whole_number("--nodes", nodes),
        gpus=whole_number("--gpus", gpus),
        cpus=whole_number("--cpus", cpus),
        memory=memory,
        time=time,
    )


@task(
    words="target",
    iterable=["set_"],
    help={
        **_RESOURCES,
        "pyxis": "absolute path of the squashed image, where Slurm has pyxis (default: the locked environment)",
        "second": "the same of BitsAndBytes' image, for a training that Unsloth may hand over",
    },
)
def slurm(
    c: Context,
    target: list[str] | None = None,
    run: str | None = None,
    set_: list[str] | None = None,
    nodes: str | None = None,
    gpus: str | None = None,
    cpus: str | None = None,
    memory: str | None = None,
    time: str | None = None,
    out: str | None = None,
    pyxis: str | None = None,
    second: str | None = None,
) -> None:
    """Write a Slurm script for one training."""
    from sftplay.host.cluster import command

    job = _job(target, run, set_, nodes, gpus, cpus, memory, time)
    command.write_slurm(job, pyxis=pyxis, second=second, out=out)


@task(
    words="target",
    iterable=["set_"],
    help={
        **_RESOURCES,
        "image": "the stack's image by digest (default: the published one)",
        "second": "BitsAndBytes' image by digest, for a training that Unsloth may hand over",
        "claim": "the volume claim that holds the project's folder (default: sftplay)",
    },
)
def k8s(
    c: Context,
    target: list[str] | None = None,
    run: str | None = None,
    set_: list[str] | None = None,
    nodes: str | None = None,
    gpus: str | None = None,
    cpus: str | None = None,
    memory: str | None = None,
    time: str | None = None,
    out: str | None = None,
    image: str | None = None,
    second: str | None = None,
    claim: str = "sftplay",
) -> None:
    """Write a Kubernetes Job for one training."""
    from sftplay.host.cluster import command

    job = _job(target, run, set_, nodes, gpus, cpus, memory, time)
    command.write_kubernetes(job, image=image, second=second, claim=claim, out=out)


@task(
    words="target",
    iterable=["set_"],
    help={**_RESOURCES, "accelerator": "SkyPilot's name of the GPU (default: L4)"},
)
def sky(
    c: Context,
    target: list[str] | None = None,
    run: str | None = None,
    set_: list[str] | None = None,
    nodes: str | None = None,
    gpus: str | None = None,
    cpus: str | None = None,
    memory: str | None = None,
    time: str | None = None,
    out: str | None = None,
    accelerator: str = "L4",
) -> None:
    """Write a SkyPilot task for one training."""
    from sftplay.host.cluster import command

    job = _job(target, run, set_, nodes, gpus, cpus, memory, time)
    command.write_sky(job, accelerator=accelerator, out=out)


@task(
    name="agent",
    help={
        "address": "HOST:PORT of the cluster's first agent (default: this one is the first)",
        "ip": "address of this machine that the other nodes reach",
        "first-port": "the first of 71 ports (default: 6379)",
        "cpus": "CPU cores to offer (default: all; 0 for a machine that only starts batches)",
        "gpus": "GPUs to offer (default: all)",
        "name": "name of the node (default: the host's)",
    },
)
def ray_agent(
    c: Context,
    address: str | None = None,
    ip: str | None = None,
    first_port: str | None = None,
    cpus: str | None = None,
    gpus: str | None = None,
    name: str | None = None,
) -> int:
    """Make this machine a node of a Ray cluster until Ctrl-C."""
    from sftplay.host.ray import agent

    return agent.run(
        address,
        ip=ip,
        first_port=whole_number("--first-port", first_port),
        cpus=whole_number("--cpus", cpus),
        gpus=whole_number("--gpus", gpus),
        name=name,
    )
