"""A real training through the menu: its launcher killed, its training found again, stopped and
resumed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sftplay.host.local import environments
from sftplay.host.system.machine import read_machine
from tests.host.conftest import NO_ENGINE
from tests.host.standin import wait_until

STEPS = 300


def train(checkout: Path, model: Path, *more: str) -> tuple[subprocess.Popen[bytes], Path]:
    terminal = checkout / f"terminal-{len(list(checkout.glob('terminal-*')))}"
    values = [
        f"model.name={model}",
        f"train.max_steps={STEPS}",
        "train.batch_size=2",
        "model.max_length=256",
    ]
    values += ["train.method=lora", "data.val_share=0.2", "data.test_share=0"]
    with open(terminal, "wb") as screen:
        return subprocess.Popen(
            [sys.executable, "-m", "sftplay.host.cli", "train", "--run", "real"]
            + [word for value in values for word in ("--set", value)]
            + [*more],
            cwd=checkout,
            env={
                **os.environ,
                "PYTHONPATH": str(checkout),
                "SFTPLAY_ENVS": str(environments.envs_folder()),
                "DOCKER_HOST": NO_ENGINE,
            },
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=screen,
        ), terminal


# starts the real stage twice: half a minute each for its imports on a slow machine
@pytest.mark.long
@pytest.mark.usefixtures("cpu_env")
def test_a_training_survives_its_launcher_stops_and_goes_on(
    checkout: Path, tiny_model: Path
) -> None:
    (checkout / "data" / "raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(60)]
    (checkout / "data" / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = checkout / "outputs" / "real"

    first, _ = train(checkout, tiny_model)
    wait_until((run / "attempts" / "01-bnb" / "progress.json").exists, "first step", 240)
    first.kill()
    first.wait()
    second, screen = train(checkout, tiny_model)
    wait_until(lambda: b"watching it" in screen.read_bytes(), "training found again")
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=120) == 85, screen.read_text()
    assert len(list((run / "launch").glob("start-*.json"))) == 1

    again, screen = train(checkout, tiny_model)
    assert again.wait(timeout=60) == 76, screen.read_text()
    assert "--resume" in screen.read_text()
    resumed, screen = train(checkout, tiny_model, "--resume")
    assert resumed.wait(timeout=300) == 0, screen.read_text()

    stamp = json.loads((run / "backend.json").read_text())
    start = json.loads((run / "launch" / "start-002.json").read_text())
    assert stamp["environment_hash"] == start["environment_hash"]
    assert (stamp["stack"], stamp["device"]) == ("cpu", "cpu")
    assert len(list((run / "launch").glob("start-*.json"))) == 2
    assert [path.name for path in (run / "attempts").iterdir()] == ["01-bnb"]


@pytest.mark.long  # imports the real Unsloth, then torch for BnB: a minute on a slow machine
@pytest.mark.usefixtures("cpu_env")
def test_the_real_unsloth_fails_without_a_gpu_and_bnb_goes_on(
    checkout: Path, tiny_model: Path
) -> None:
    if read_machine().has_gpu:
        pytest.skip("this machine has a GPU")
    if "unsloth" not in environments.present():
        pytest.skip("the unsloth environment is not made: about 3 GB")
    (checkout / "data" / "raw").mkdir(parents=True)
    rows = [{"user": f"What is {n} + {n}?", "assistant": f"It is {n + n}."} for n in range(60)]
    (checkout / "data" / "raw" / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first, screen = train(
        checkout,
        tiny_model,
        "--no-preflight",
        "--set",
        "backend=unsloth",
        "--set",
        "train.max_steps=2",
    )
    assert first.wait(timeout=600) == 0, screen.read_text()
    run = checkout / "outputs" / "real"
    stamp = json.loads((run / "backend.json").read_text())
    assert (stamp["backend"], stamp["requested_backend"], stamp["stack"]) == (
        "bnb",
        "unsloth",
        "cpu",
    )
    assert stamp["fallback"]["reason"] == "no_gpu"
    assert "You need a GPU" in stamp["fallback"]["message"]
    assert [path.name for path in sorted((run / "attempts").iterdir())] == ["01-unsloth", "02-bnb"]
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert events == ["handed over", "started", "finished"]
    resumed, screen = train(
        checkout, tiny_model, "--resume", "--set", "backend=unsloth", "--set", "train.max_steps=3"
    )
    assert resumed.wait(timeout=300) == 0, screen.read_text()
    assert json.loads((run / "launch" / "start-003.json").read_text())["stack"] == "cpu"
