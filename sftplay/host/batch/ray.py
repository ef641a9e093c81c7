"""Ray as an engine of batches: each experiment is a detached actor that runs one command on a node.

The command is the line that a person would type. Ray's queue holds the experiments under the
batch's name, so a driver that was killed at any moment finds what it submitted by asking Ray.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.errors import MachineError
from sftplay.files import hash_bytes
from sftplay.host.batch.engines import JobEnd
from sftplay.host.batch.expand import Experiment
from sftplay.host.protocol.signals import GRACE
from sftplay.host.protocol.stops import STOPS
from sftplay.host.ray.connection import GUARD, RayConnection
from sftplay.host.ray.nodes import check_nodes
from sftplay.host.system.checkout import PROJECT
from sftplay.settings import TrainSettings

_PASSED_ON = ("OMP_NUM_THREADS", "DOCKER_HOST", "DOCKER_CONTEXT")  # and what begins with SFTPLAY_
_OF_A_NODE = ("SFTPLAY_NODE", "SFTPLAY_JOB")


class RayEngine:
    """The queue of a Ray cluster.

    Args:
        address: HOST:PORT of its head. folder: of the batch.
        argv: the batch's command line, without the experiment.
    """

    restarts = 3  # of an experiment whose node was lost

    def __init__(
        self,
        address: str,
        folder: Path,
        argv: Sequence[str],
        experiments: Sequence[Experiment],
        runner: str,
    ) -> None:
        self.address, self.folder, self.argv = address, folder / "ray", list(argv)
        self.batch = folder.name
        self._ray = RayConnection(address, self.folder / "driver.log")
        self.resources = choose_resources(experiments, self._ray.nodes)
        check_nodes(self._ray, runner)
        place = hash_bytes(str((PROJECT / folder).absolute()).encode()).removeprefix("sha256:")[:8]
        self.prefix = f"{folder.name.removeprefix('batch-')}-{place}/"
        self._open: set[str] = set()

    def known(self) -> set[str]:
        """Experiments that an earlier driver submitted, and that have not ended."""
        self._open = self._queued()
        return set(self._open)

    def submit(self, names: Sequence[str]) -> None:
        """Put experiments into Ray's queue."""
        for made in ("ends", "logs", STOPS):
            (self.folder / made).mkdir(parents=True, exist_ok=True)
        for name in names:
            for left in (self._end(name), self.folder / STOPS / name):
                left.unlink(missing_ok=True)
        jobs = [
            {"name": self.prefix + name, "job": self._job(name), **self.resources[name]}
            for name in names
        ]
        self._ray.ask("submit", jobs=jobs, guard=GUARD)
        self._open |= set(names)
        console.info(f"{len(names)} experiments are in Ray's queue at {self.address}")

    def ends(self) -> list[JobEnd]:
        """Experiments that have left the queue since the last call."""
        if not self._open:
            return []
        left = self._queued()
        ended, self._open = self._open - left, self._open & left
        return [self._read_end(name) for name in sorted(ended)]

    def cancel(self) -> None:
        """Remove experiments that wait; those that run continue."""
        waiting = [name for name in self._queued() if not (self.folder / "logs" / f"{name}.log").exists()]  # fmt: skip
        self._ray.ask("cancel", names=[self.prefix + name for name in waiting])

    def how_to_stop(self) -> str:
        """Return the command that stops the experiments with a checkpoint each."""
        return "inv stop --all"

    def words(self) -> tuple[str, ...]:
        """Return the options that choose this engine."""
        return ("--engine", "ray", "--address", self.address)

    def _job(self, name: str) -> dict[str, Any]:
        folder = (PROJECT / self.folder).absolute()
        passed = {
            key: value
            for key, value in os.environ.items()
            if key in _PASSED_ON or (key.startswith("SFTPLAY_") and key not in _OF_A_NODE)
        }
        return {
            "argv": ["python3", "tasks.py", *self.argv, "--only", name],
            "folder": str(PROJECT),
            "env": {**passed, "SFTPLAY_JOB": f"ray {self.batch}"},
            "log": str(folder / "logs" / f"{name}.log"),
            "end": str(folder / "ends" / f"{name}.json"),
            "stop": str(folder / STOPS / name),
            "grace": GRACE + 10,
        }

    def _queued(self) -> set[str]:
        names: list[str] = self._ray.ask("queued")
        return {name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)}

    def _end(self, name: str) -> Path:
        return self.folder / "ends" / f"{name}.json"

    def _read_end(self, name: str) -> JobEnd:
        try:
            value = json.loads(self._end(name).read_bytes())
            return JobEnd(name, int(value["code"]), str(value["where"]))
        except (OSError, ValueError, KeyError, TypeError):
            return JobEnd(name, None, "ray")


def choose_resources(
    experiments: Sequence[Experiment], nodes: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, int]]:
    """Return cpus and gpus of each experiment: a GPU for each process, or a whole node without one.

    Raises:
        MachineError: no node has what an experiment asks for (69).
    """
    gpus = max((int(node["gpus"]) for node in nodes), default=0)
    cores = [int(node["cpus"]) for node in nodes if node["cpus"]]
    if not cores:
        raise MachineError(
            "no node of the Ray cluster offers CPU cores", todo="start an agent without --cpus 0"
        )
    found: dict[str, dict[str, int]] = {}
    for one in experiments:
        wanted = _gpus(one.settings.train, any_gpu=gpus > 0)
        if wanted > gpus:
            raise MachineError(
                f"{one.name} asks for {wanted} GPUs, and the largest node of the Ray cluster has {gpus}",
                todo="start an agent on a machine with GPUs, or set train.device: cpu",
            )
        found[one.name] = {"cpus": 1 if wanted else min(cores), "gpus": wanted}
    if not gpus and any(one.settings.train.device == "auto" for one in experiments):
        console.info("no node has a GPU: the experiments train on the CPU, one at a time on a node")
    return found


def _gpus(train: TrainSettings, *, any_gpu: bool) -> int:
    """Return how many GPUs a training asks for; without one in the cluster, auto means the CPU."""
    if train.device == "cpu" or (train.device == "auto" and not any_gpu):
        return 0
    return train.processes if isinstance(train.processes, int) else 1
