"""Memory that is free: the machine's, and what a container's limit leaves of it."""

from __future__ import annotations

from pathlib import Path

import torch

from sftplay.model.runtime.memory import available

CPU = torch.device("cpu")


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    assert available(CPU, tmp_path) == 2_000_000
    (tmp_path / "memory.current").write_text("6000000\n")
    assert available(CPU, tmp_path) == 0


def test_without_a_limit_it_is_what_the_machine_says(tmp_path: Path) -> None:
    lines = Path("/proc/meminfo").read_text().splitlines()
    facts = {name: int(rest.split()[0]) * 1024 for name, rest in (s.split(":") for s in lines)}
    assert 0.8 < available(CPU, tmp_path) / facts["MemAvailable"] < 1.25
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    assert 0.8 < available(CPU, tmp_path) / facts["MemAvailable"] < 1.25
