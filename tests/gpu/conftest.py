"""Tests on a real GPU: `inv test --args="-m gpu tests/gpu"`. Skipped, with the reason, on a machine
without one.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RAW = "SFTPLAY_GPU_DATA"  # a jsonl file to train on (GSM8K, say); else sums are made up


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a GPU test, whatever its file says."""
    from sftplay.host.system.machine import read_machine

    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if not read_machine().has_gpu:
            item.add_marker(
                pytest.mark.skip(
                    reason="needs an NVIDIA GPU: none here (no /dev/nvidia*, no /dev/dxg)"
                )
            )


@dataclass(frozen=True)
class Ended:
    """A stage that ran in a stack's environment."""

    code: int
    text: str


Stage = Callable[..., Ended]


@pytest.fixture(scope="session")
def stage() -> Stage:
    """Runs `python -m sftplay …` (or any argv of that Python) in the environment of a stack, made
    where it is missing.
    """
    from sftplay.host.local import environments
    from sftplay.host.local import runner as local_runner
    from sftplay.stages import BY_NAME

    def run(
        stack: Any,
        *argv: str,
        cwd: Path,
        python: tuple[str, ...] = ("-m", "sftplay"),
        **variables: str,
    ) -> Ended:
        environment = environments.ensure(stack)
        env = local_runner.stage_environ(
            BY_NAME["train"], environment, os.environ, cores=os.cpu_count() or 1
        )
        words = [str(environment.python), *python, *argv]
        done = subprocess.run(
            words, cwd=cwd, env={**env, **variables}, capture_output=True, text=True, check=False
        )
        return Ended(done.returncode, done.stdout + done.stderr)

    return run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a config for the default model; the data stages run with the first training."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "data" / "raw").mkdir(parents=True)
    given = os.environ.get(RAW)
    rows = Path(given).read_text(encoding="utf-8") if given else _sums(800)
    (folder / "data" / "raw" / "rows.jsonl").write_text(rows, encoding="utf-8")
    (folder / "gpu.yaml").write_text(
        "train:\n  method: qlora\n  max_steps: 50\n  save_steps: 25\n  logging_steps: 1\n  learning_rate: 2e-4\n"
    )
    return folder


def _sums(count: int) -> str:
    chance = random.Random(7)
    rows = []
    for _ in range(count):
        a, b, c = (chance.randint(2, 90) for _ in range(3))
        question = f"Ann has {a} apples, buys {b} more and shares them with {c} friends. How many apples are {a} and {b}?"
        rows.append(
            {
                "user": question,
                "assistant": f"{a} and {b} are {a} + {b} = {a + b} apples.\n#### {a + b}",
            }
        )
    return "".join(json.dumps(row) + "\n" for row in rows)
