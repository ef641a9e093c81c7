"""`client HOST PORT`: talks to a Ray cluster for the driver of a batch, whose Python has no Ray.

A request is a line of JSON on standard input, its answer one on standard output. Experiments are
detached actors: they wait in Ray's queue and run on when this process and its driver are gone.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

from sftplay.host.ray import inside

NAMESPACE = "sftplay"
_LOOK = 60.0  # seconds for a node's answer


def connect(host: str, port: int) -> dict[str, Any]:
    """Join the cluster as a driver, next to this machine's agent."""
    import ray
    from ray import cloudpickle

    with socket.create_connection((host, port), timeout=5) as reached:
        own = reached.getsockname()[0]
    ray.init(
        address=f"{host}:{port}",
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address=own,
    )
    cloudpickle.register_pickle_by_value(inside)
    return {"ray": ray.__version__, "nodes": nodes()}


def nodes() -> list[dict[str, Any]]:
    """Nodes that are up, with their resources."""
    import ray

    return [
        {
            "id": one["NodeID"],
            "name": one["NodeName"],
            "cpus": int(one["Resources"].get("CPU", 0)),
            "gpus": int(one["Resources"].get("GPU", 0)),
        }
        for one in ray.nodes()
        if one["Alive"]
    ]


def look(folder: str, nonce: str, files: list[str]) -> list[dict[str, Any]]:
    """Look at every node. One that does not answer has an error."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(inside.look_at_node)
    asked = {
        one["name"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(one["id"], soft=False)
        ).remote(folder, nonce, files)
        for one in nodes()
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_LOOK)
    found = []
    for name, answer in asked.items():
        try:
            found.append(ray.get(answer, timeout=0))
        except ray.exceptions.RayError as error:
            found.append({"node": name, "error": str(error).strip().splitlines()[0]})
    return found


def submit(jobs: list[dict[str, Any]], guard: list[str]) -> None:
    """Put experiments into Ray's queue; one that is there already stays as it is."""
    import ray

    actor = ray.remote(inside.ExperimentActor)
    there = set(queued())
    for one in jobs:
        if one["name"] not in there:
            actor.options(
                name=one["name"],
                lifetime="detached",
                num_cpus=one["cpus"],
                num_gpus=one["gpus"],
                max_restarts=0,
            ).remote(one["job"], guard)


def queued() -> list[str]:
    """Names of the experiments that wait or run, of every batch."""
    import ray

    return list(ray.util.list_named_actors())


def cancel(names: list[str]) -> None:
    """Remove experiments from the queue."""
    import ray

    for name in names:
        try:
            ray.kill(ray.get_actor(name), no_restart=True)
        except ValueError:  # it has ended meanwhile
            continue


_REQUESTS: Mapping[str, Callable[..., Any]] = {
    "look": look, "submit": submit, "queued": queued, "cancel": cancel, "nodes": nodes,
}  # fmt: skip


def main(argv: list[str]) -> int:
    """Answer requests until the driver is gone."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Ray prints is no answer
    _answer(answers, lambda: connect(argv[0], int(argv[1])))
    for line in sys.stdin:
        request = json.loads(line)
        _answer(answers, functools.partial(_REQUESTS[request.pop("do")], **request))
    return 0


def _answer(answers: IO[str], work: Callable[[], Any]) -> None:
    try:
        answer = {"value": work()}
    except Exception as error:  # noqa: BLE001 - the driver says it, and how to go on
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
