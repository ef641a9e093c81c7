"""Machines as the doctor sees them: a healthy one, which tests change, and programs that say what
was recorded.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from sftplay.host.doctor.facts import (
    EngineFacts,
    FolderFacts,
    MachineFacts,
    PortFacts,
    PythonFacts,
    StackFacts,
)
from sftplay.host.system.machine import Machine
from sftplay.host.system.nvidia import Gpu

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
CARD = Gpu("NVIDIA H200", 143771 << 20, 143167 << 20, (9, 0), "580.159.03")
LAPTOP = Machine("Linux", "x86_64", (), 8, 16 << 30, 200 * 10**9, None)


def stack(name: str, **changes: Any) -> StackFacts:
    cuda = None if name == "cpu" else (13, 0)
    made = StackFacts(
        name,
        f"sftplay/{name}:0123456789ab",
        image="present",
        environment=True,
        locked=True,
        cuda=cuda,
    )
    return dataclasses.replace(made, **changes)


def engine(**changes: Any) -> EngineFacts:
    storage = FolderFacts(Path("/var/lib/docker"), free=500 * 10**9, disk=2)
    made = EngineFacts(
        *("unix:///var/run/docker.sock", "docker", "29.1.2", "1.52", False, storage, ("runc",)),
        compose="2.40.3",
    )
    return dataclasses.replace(made, **changes)


def healthy(*, gpu: bool = False, **changes: Any) -> MachineFacts:
    """A machine without fault: everything is there, built and free."""
    made = MachineFacts(
        machine=dataclasses.replace(LAPTOP, nvidia=("/dev/nvidia0",) if gpu else ()),
        tools=PythonFacts("3.11.7", python311=True, venv=True, uv="/home/ada/sftplay/.venv/bin/uv"),
        project=FolderFacts(Path("/home/ada/sftplay"), free=200 * 10**9, disk=1),
        cache=FolderFacts(Path("/home/ada/.cache/sftplay"), free=200 * 10**9, disk=1),
        shm=8 << 30,
        port=PortFacts(6006),
        stacks=(stack("cpu"), stack("bnb"), stack("unsloth")),
        gpus=(CARD,) if gpu else (),
        engine=engine(gpu_tried=gpu),
    )
    return dataclasses.replace(made, **changes)


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A program of that name that says what was recorded: the real one can't be had without a GPU."""
    said = yaml.safe_load((RECORDED / "nvidia_smi.yaml").read_text())[case]
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(said['output'])}\nexit {said['exit']}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text())
