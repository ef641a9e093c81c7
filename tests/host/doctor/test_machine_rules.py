"""Every known fault of a machine ends in exactly one finding that says what to type; a machine
without fault in none.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sftplay.host.doctor import machine_rules
from sftplay.host.doctor.facts import FolderFacts, MachineFacts, PortFacts, PythonFacts
from sftplay.host.doctor.findings import MachineFinding
from sftplay.host.doctor.gather import gather
from sftplay.host.doctor.report import judge
from sftplay.numerics import MethodResult, Table
from tests.host.doctor.machines import CARD, LAPTOP, healthy, nvidia_smi

HOME = Path("/home/ada")


def troubles(facts: MachineFacts, asked: str = "auto") -> list[MachineFinding]:
    return [finding for finding in judge(facts, asked) if finding.level in ("warning", "error")]


@pytest.mark.parametrize("asked", ["auto", "docker", "local"])
@pytest.mark.parametrize("gpu", [False, True])
def test_a_machine_without_fault_has_none(gpu: bool, asked: str) -> None:
    facts = healthy(gpu=gpu)
    assert troubles(facts, asked) == []
    topics = {finding.topic for finding in judge(facts, asked)}
    assert topics >= {"machine", "python", "gpu", "disk", "shm", "project", "cache", "port"}
    assert ("engine" in topics) == (asked != "local")


@pytest.mark.parametrize(
    ("changes", "topic", "level", "said", "todo"),
    [
        ({"machine": dataclasses.replace(LAPTOP, arch="aarch64")}, "machine", "error", "aarch64", "Linux machine"),
        ({"tools": PythonFacts("3.12.3", False, True, "/x/uv")}, "python", "warning", "3.11", "/x/uv python install 3.11"),
        ({"tools": PythonFacts("3.11.2", True, False, "/x/uv")}, "python", "error", "venv", "apt install python3.11-venv"),
        ({"tools": PythonFacts("3.11.2", True, True, None)}, "python", "warning", "no uv", "tasks.py install"),
        ({"shm": 64 << 20}, "shm", "warning", "67.1 MB", "remount,size=2g /dev/shm"),
        ({"project": FolderFacts(HOME, 1 << 40, trouble="Read-only file system")}, "project", "error", "Read-only", "chown"),
        ({"project": FolderFacts(HOME, 1 << 40, foreign=HOME / "x")}, "project", "error", "/home/ada/x", "sudo chown -R"),
        ({"cache": FolderFacts(HOME, 1 << 40, trouble="Permission denied")}, "cache", "error", "denied", "SFTPLAY_CACHE="),
        ({"cache": FolderFacts(HOME, 1 << 40, noexec=True)}, "cache", "warning", "noexec", "remount,exec"),
        ({"port": PortFacts(6006, "process 7 (x)", next_free=6007)}, "port", "warning", "process 7 (x)", "--port 6007"),
        ({"project": FolderFacts(HOME, 10**9, disk=1)}, "disk", "error", "1.0 GB free", "inv clean --envs"),
    ],
)  # fmt: skip
def test_a_fault_is_said_once_with_what_to_type(
    changes: dict[str, Any], topic: str, level: str, said: str, todo: str
) -> None:
    (finding,) = troubles(healthy(**changes))
    assert (finding.topic, finding.level) == (topic, level)
    assert said in finding.said
    assert todo in finding.todo


@pytest.mark.parametrize(
    ("case", "said", "todo"),
    [
        ("h200", None, None),
        ("two-cards", None, None),
        ("driver-too-old", "driver 570.133.07 is too old for the bnb stack: CUDA 13.0 requires 580", "NVIDIA driver 580 or newer"),
        ("capability-too-old", "compute capability 6.1) is too old", "train.device=cpu"),
        ("capability-too-new", "compute capability 14.0) is too new", "train.device=cpu"),
        ("no-driver", "couldn't communicate with the NVIDIA driver", "train.device=cpu"),
        ("mismatch", "version mismatch", "restart the machine"),
        ("no-devices", "No devices were found", "train.device=cpu"),
        ("field-unknown", "compute_cap", "train.device=cpu"),
        ("lost-in-container", "Unknown Error", "train.device=cpu"),
    ],
)  # fmt: skip
def test_what_nvidia_smi_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, said: str | None, todo: str | None
) -> None:
    (tmp_path / "nvidia0").touch()
    nvidia_smi(tmp_path, monkeypatch, case)
    seen = gather(dev=tmp_path)
    found = troubles(healthy(gpu=True, gpus=seen.gpus, gpu_trouble=seen.gpu_trouble))
    if said is None or todo is None:
        assert found == []
        return
    (finding,) = found
    assert (finding.level, finding.topic) == ("error", "gpu")
    assert said in finding.said
    assert todo in finding.todo


def test_a_card_is_held_against_what_each_torch_was_built_for() -> None:
    facts = healthy(gpu=True, gpus=(dataclasses.replace(CARD, capability=(8, 9)),))
    assert troubles(facts) == []  # code for 8.6 runs on 8.9
    facts = healthy(gpu=True, gpus=(dataclasses.replace(CARD, capability=(11, 0)),))
    assert (
        "too new" in troubles(facts)[0].said
    )  # between 10.0 and 12.0, and of a major version of its own


def test_needs_on_one_disk_add_up() -> None:
    stacks = tuple(
        dataclasses.replace(stack, image="missing", environment=False) for stack in healthy().stacks
    )
    facts = healthy(stacks=stacks, project=FolderFacts(HOME, 3 * 10**9, disk=1))
    (finding,) = troubles(facts)
    assert finding.level == "warning"
    assert "a run 2.0 GB, the cpu environment" in finding.said
    roomy = healthy(stacks=stacks, project=FolderFacts(HOME, 30 * 10**9, disk=1))
    assert troubles(roomy) == []


def test_what_is_not_right_on_this_machine_is_named() -> None:
    rows = (MethodResult("qlora", "bf16", gradient=0.9), MethodResult("lora", "bf16", passed=True))
    table = Table("cpu", "cpu", "AMD EPYC avx512_bf16", "sha256:0", rows)
    (found,) = machine_rules.numerics(healthy(numerics=(table,)))
    assert found.level == "warning"
    assert "qlora in bf16" in found.said and "lora in bf16," not in found.said
    (found,) = machine_rules.numerics(healthy())
    assert found.level == "note" and found.todo == "inv check --numerics"
