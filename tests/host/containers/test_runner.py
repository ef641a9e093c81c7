"""Every stage in the real cpu image, by the tasks that a person types, in a project that is not
root's.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from sftplay.host.containers import available
from sftplay.host.containers.spec import project_of
from tests.host.planted_token import TOKEN, Launcher, slow_hub, wait_until

pytestmark = pytest.mark.docker

OWNER = 4711  # whom the project belongs to, where root runs these tests


@pytest.fixture
def engine_host() -> str:
    shelf = available.find()
    if shelf.engine is None:
        pytest.skip(f"no container engine: {shelf.problem}")
    if "cpu" not in shelf.present:
        pytest.skip("the cpu image of this checkout is not here: inv image.build cpu")
    return shelf.engine.host


@dataclass(frozen=True)
class Tasks:
    """Tasks of a project that is its owner's, in the docker runner, on a tiny model."""

    checkout: Path
    engine_host: str
    values: tuple[str, ...]
    owner: int

    def start(self, *words: str) -> subprocess.Popen[str]:
        sets = [word for value in self.values for word in ("--set", value)]
        return subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", *words, "--runner", "docker", *sets],
            cwd=self.checkout,
            env={
                **os.environ,
                "PYTHONPATH": str(self.checkout),
                "DOCKER_HOST": self.engine_host,
                "SFTPLAY_CACHE": str(self.checkout / "cache"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def inv(self, *words: str) -> str:
        """Run one to its good end, and return what it printed."""
        process = self.start(*words)
        out, said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        last = json.loads((self.checkout / "outputs/.last-start.json").read_text())
        assert (last["runner"], last["reason"]) == ("docker", "asked for")
        return out

    def read(self, path: str) -> Any:
        return json.loads((self.checkout / "outputs" / path).read_text())


@pytest.fixture
def tasks(checkout: Path, tiny_model: Path, engine_host: str, tmp_path: Path) -> Tasks:
    (checkout / "data" / "raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(60)]
    (checkout / "data" / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for path in tiny_model.rglob("*"):
        path.chmod(0o644)
    for folder in (
        tiny_model,
        *list(tiny_model.parents)[:3],
        tmp_path,
        *list(tmp_path.parents)[:2],
    ):
        folder.chmod(folder.stat().st_mode | 0o055)
    owner = OWNER if os.geteuid() == 0 else os.getuid()
    if os.geteuid() == 0:
        for path in (checkout, *checkout.rglob("*")):
            os.chown(path, owner, owner)
    values = (
        f"model.name={tiny_model}",
        "train.method=lora",
        "train.batch_size=2",
        "model.max_length=256",
        "data.val_share=0.2",
        "data.test_share=0",
    )
    return Tasks(checkout, engine_host, values, owner)


def test_from_raw_rows_to_a_merged_model(tasks: Tasks) -> None:
    inv, checkout = tasks.inv, tasks.checkout
    two_steps = ("--set", "train.max_steps=2")
    inv("full-pipeline", "--style", "Be brief.", *two_steps)
    inv(
        "train-unsloth", "--run", "demo", "--set", "train.device=cpu", *two_steps
    )  # preflight writes a hand-over, as whoever runs this
    assert inv("infer", "--run", "demo", "--prompt", "What is 2 + 2?").strip()
    inv("merge", "--run", "demo")

    stamp = tasks.read("demo/backend.json")
    start = tasks.read("demo/launch/start-002.json")
    assert (stamp["stack"], stamp["device"], stamp["image_digest"]) == (
        "cpu",
        "cpu",
        start["image"],
    )
    assert stamp["fallback"]["reason"] == "no_gpu"
    assert start["image"].startswith("sha256:")
    assert (checkout / "outputs" / "demo" / "merged" / "config.json").is_file()
    made = [path for name in ("data", "outputs", "cache") for path in (checkout / name).rglob("*")]
    assert {path.lstat().st_uid for path in made} == {tasks.owner}, [
        p for p in made if p.lstat().st_uid != tasks.owner
    ]


@pytest.fixture
def network(engine_host: str) -> Iterator[tuple[str, str]]:
    """A bridge of the engine without a way out, and the address of its first container."""
    client = docker.DockerClient(base_url=engine_host)
    name = f"sftplay-test-{os.getpid()}"
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.79.13.0/28", gateway="10.79.13.1")])
    made = client.networks.create(name, driver="bridge", internal=True, ipam=pool)
    yield name, "10.79.13.2"
    made.remove()
    client.close()


def _two_machines(tasks: Tasks, network: tuple[str, str], *words: str) -> list[Any]:
    """The same training on two machines; the first has its container before the second starts."""
    name, address = network
    found = ("--nodes", "2", "--rendezvous", f"{address}:29611", "--network", name)
    first = tasks.start("train", *found, "--node-rank", "0", *words)
    _until(lambda: _containers(tasks) == 1)
    return [first, tasks.start("train", *found, "--node-rank", "1", *words)]


def _containers(tasks: Tasks, kill: int | None = None) -> int:
    """Count the project's running containers, or kill that of one machine."""
    with contextlib.closing(docker.DockerClient(base_url=tasks.engine_host)) as client:
        mine = client.containers.list(
            filters={"label": f"sftplay.project={project_of(str(tasks.checkout))}"}
        )
        for container in mine:
            if kill is not None and container.attrs["Config"]["Hostname"] == f"node-{kill}":
                container.kill()
        return len(mine)


def _until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.long
def test_two_containers_on_a_bridge_train_as_one_process(
    tasks: Tasks, network: tuple[str, str]
) -> None:
    """One machine is lost in mid-training: the other ends with 69 and names it, and the same commands
    go on from the checkpoint.
    """
    steps = (
        "--set",
        "train.max_steps=40",
        "--set",
        "train.save_steps=5",
        "--set",
        "lora.dropout=0",
        "--set",
        "train.precision=fp32",
    )
    tasks.inv("train", "--run", "alone", *steps)

    pair = _two_machines(tasks, network, "--run", "demo", *steps)
    checkpoint = tasks.checkout / "outputs/demo/attempts/01-bnb/checkpoints/checkpoint-5"
    _until(lambda: checkpoint.exists() or pair[0].poll() is not None)
    assert _containers(tasks, kill=1) == 2
    said = [one.communicate(timeout=300)[1] for one in pair]
    assert [one.returncode for one in pair] == [69, 137], "\n".join(said)
    result = tasks.read("demo/attempts/01-bnb/ranks/result.json")
    assert (result["code"], result["rank"]) == (69, 0)
    assert "another rank is gone: " in said[0] and ".cc:" not in said[0], said[0]

    pair = _two_machines(tasks, network, "--run", "demo", "--resume", *steps)
    said = [one.communicate(timeout=300)[1] for one in pair]
    assert [one.returncode for one in pair] == [0, 0], said
    assert "node-0" in said[0] and network[0] in said[0]
    one, other = tasks.read("alone/run.json"), tasks.read("demo/run.json")
    for key in ("last_loss", "val_loss"):
        assert other[key] == pytest.approx(one[key], rel=2e-6)
    assert _containers(tasks) == 0


def test_a_fetch_shows_its_token_nowhere(checkout: Path, engine_host: str) -> None:
    """Not to the engine either, which keeps what it knows of a container; nor when the launcher is
    killed.
    """
    with (
        contextlib.closing(docker.DockerClient(base_url=engine_host)) as client,
        slow_hub(_gateway(client)) as (endpoint, asked),
    ):
        fetch = Launcher(
            checkout,
            *("fetch", "--runner", "docker", "--set", "model.name=owner/model"),
            DOCKER_HOST=engine_host,
            HF_ENDPOINT=endpoint,
            NO_PROXY="*",
            SFTPLAY_CACHE=str(checkout.parent / "cache"),
        )
        wait_until(lambda: asked or not fetch.alive, "no request")
        assert asked[:1] == [f"Bearer {TOKEN}"], fetch.output.read_text()
        mine = {"label": f"sftplay.project={project_of(str(checkout))}"}
        (container,) = client.containers.list(filters=mine)
        inside = [int(words[1]) for words in container.top()["Processes"]]
        known = [container.attrs, container.image.history(), client.info(), client.df()]
        assert TOKEN not in json.dumps(known)
        assert fetch.traces(*inside) == []
        fetch.process.kill()
        fetch.process.wait()
        assert fetch.traces(*inside) == []
        container.kill()
        container.wait()
        assert TOKEN.encode() not in container.logs()
        container.remove()
    assert "Traceback" not in fetch.output.read_text()


def _gateway(client: docker.DockerClient) -> str:
    """Return this machine's address on the engine's own bridge."""
    (pool,) = client.networks.get("bridge").attrs["IPAM"]["Config"]
    first = next(ipaddress.ip_network(pool["Subnet"]).hosts())  # where no other is named
    return str(pool.get("Gateway") or first)
