"""Two machines as two network namespaces that share the project's folder: the real command on each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMAND = (sys.executable, "-m", "sftplay", "train", "--config", "demo.yaml")
_SETS = ("--set", "train.batch_size=4", "--set", "lora.dropout=0")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None,
        reason="network namespaces need root and iproute2",
    ),
]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them: 10.77.0.1 and 10.77.0.2 on eth9."""
    names = f"sft{os.getpid()}a", f"sft{os.getpid()}b"
    made = []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
            made.append(name)
        _ip(
            "-n",
            names[0],
            "link",
            "add",
            "eth9",
            "type",
            "veth",
            "peer",
            "name",
            "eth9",
            "netns",
            names[1],
        )
        for number, name in enumerate(names, 1):
            _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth9")
            for device in ("lo", "eth9"):
                _ip("-n", name, "link", "set", device, "up")
    except subprocess.CalledProcessError as error:
        for name in made:
            _ip("netns", "del", name)
        pytest.skip(f"no network namespaces here: {error.stderr.decode()[:200]}")
    yield names
    for name in made:
        _ip("netns", "del", name)


def start(machine: str, node: int, project: Path, *more: str) -> subprocess.Popen[str]:
    words = [*_SETS, *more]
    words += ["--nodes", "2", "--node-rank", str(node), "--rendezvous", "10.77.0.1:29611"]
    return subprocess.Popen(
        ["ip", "netns", "exec", machine, *COMMAND, *words, "--interface", "eth9"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_machines_train_as_one_process(project: Path, machines: tuple[str, str]) -> None:
    pair = [start(machine, node, project) for node, machine in enumerate(machines)]
    said = [one.communicate(timeout=400)[0] for one in pair]
    assert [one.returncode for one in pair] == [0, 0], said
    alone = subprocess.run(
        [*COMMAND, "--run", "alone", *_SETS],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert alone.returncode == 0
    one, other = (
        json.loads((project / "outputs" / run / "run.json").read_text())
        for run in ("alone", "demo")
    )
    for key in ("first_loss", "last_loss", "val_loss"):
        assert other[key] == pytest.approx(one[key], rel=2e-6)
    stamp = json.loads((project / "outputs/demo/backend.json").read_text())
    assert (stamp["nodes"], stamp["processes"], stamp["world_size"]) == (2, 1, 2)


def test_a_rank_that_is_killed_on_one_machine_ends_both(
    project: Path, machines: tuple[str, str]
) -> None:
    more = ("--set", "train.max_steps=4000", "--set", "train.save_steps=4000")
    pair = [start(machine, node, project, *more) for node, machine in enumerate(machines)]
    steps = project / "outputs/demo/attempts/01-bnb/steps.jsonl"
    end = time.monotonic() + 300
    while not steps.exists() or len(steps.read_text().splitlines()) < 3:
        assert time.monotonic() < end and pair[0].poll() is None
        time.sleep(0.1)
    # `ip netns exec` becomes the front
    children = Path(f"/proc/{pair[1].pid}/task/{pair[1].pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    said = [one.communicate(timeout=120)[0] for one in pair]
    assert [one.returncode for one in pair] == [137, 137], said
    result = json.loads((steps.parent / "ranks/result.json").read_text())
    assert (result["code"], result["rank"]) == (137, 1)
