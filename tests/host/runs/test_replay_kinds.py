"""`inv replay` through the real command, in both runners, on six kinds of good runs: each comes out
the same to the byte.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sftplay.host.containers import available, image_names
from tests.host.conftest import NO_ENGINE
from tests.host.standin import wait_until

VALUES = {
    "model": {"max_length": 256},
    "data": {"val_share": 0.2, "test_share": 0},
    "train": {"method": "lora", "max_steps": 7, "logging_steps": 3, "save_steps": 2, "batch_size": 2},
    "lora": {"dropout": 0.1},
}  # fmt: skip


@dataclass(frozen=True)
class Workplace:
    """A checkout with data, where tasks run in one of the runners."""

    folder: Path
    runner: str

    @property
    def environ(self) -> dict[str, str]:
        engine = {} if self.runner == "docker" else {"DOCKER_HOST": NO_ENGINE}
        return {**os.environ, "PYTHONPATH": str(self.folder), "NO_COLOR": "1", **engine}

    def start(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", *argv],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def task(self, *argv: str, code: int = 0) -> str:
        """Run a task that has to end with this code; return its output."""
        with self.start(*argv) as process:
            said, _ = process.communicate(timeout=900)
        assert process.returncode == code, said
        return said

    def train(self, run: str, *values: str, code: int = 0) -> str:
        words = [word for value in values for word in ("--set", value)]
        return self.task(*self.training(run), *words, code=code)

    def training(self, run: str) -> list[str]:
        return ["train", "--config", "base.yaml", "--run", run, "--runner", self.runner]


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.docker)])
def workplace(
    request: pytest.FixtureRequest, checkout: Path, tiny_model: Path, environment: None
) -> Iterator[Workplace]:
    """Rows, a config, and a batch file of one experiment."""
    if request.param == "docker" and available.find().states.get("cpu") != "present":
        pytest.skip(f"{image_names.current('cpu').tag} is not here: inv image.build cpu")
    (checkout / "data/raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(60)]
    (checkout / "data/raw/sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {**VALUES, "model": {**VALUES["model"], "name": str(tiny_model)}}
    (checkout / "base.yaml").write_text(yaml.safe_dump(config))
    batch = {
        "config": "base.yaml",
        "datasets": {"sums": {"raw": "data/raw/sums.jsonl"}},
        "experiments": [{"name": "batched", "dataset": "sums"}],
    }
    (checkout / "batch.yaml").write_text(yaml.safe_dump(batch))
    yield Workplace(checkout, request.param)


def interrupt_and_resume(work: Workplace) -> None:
    """Stop a training by Ctrl-C somewhere, and resume it."""
    more = ["--set", "train.max_steps=40"]
    progress = work.folder / "outputs/resumed/attempts/01-bnb/progress.json"
    with work.start(*work.training("resumed"), *more) as process:
        wait_until(progress.exists, "the first step", 240)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 85, said
    work.task("train", "--run", "resumed", "--resume", "--runner", work.runner)


@pytest.mark.long  # thirteen trainings and as many sets of imports
def test_every_kind_of_run_comes_out_the_same(workplace: Workplace) -> None:
    work = workplace
    work.task("batch", "--file", "batch.yaml", "--yes", "--runner", work.runner)
    work.train("plain")
    interrupt_and_resume(work)
    work.train("handed-over", "backend=unsloth")
    looks = ["train.eval_steps=1", "train.early_stopping_patience=1", "train.learning_rate=0.1"]
    work.train("early-stopped", "train.max_steps=30", *looks)
    work.train("packed", "train.packing=true")

    stamp = json.loads((work.folder / "outputs/handed-over/backend.json").read_text())
    assert (stamp["requested_backend"], stamp["backend"]) == ("unsloth", "bnb")
    record = json.loads((work.folder / "outputs/early-stopped/run.json").read_text())
    assert record["steps"] < 30
    for run in ("plain", "resumed", "handed-over", "early-stopped", "packed", "batched"):
        said = work.task("replay", run)
        assert f"{run} came out the same to the byte" in said
        assert "adapter_config.json: the same bytes" in said
        assert "differs" not in said

    for name in ("outputs/plain/adapter/adapter_model.safetensors", "data/tokenized/train.arrow"):
        path = work.folder / name
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        said = work.task("replay", "plain", code=76)
        assert path.name in said and "training again" not in said
        path.write_bytes(content)
