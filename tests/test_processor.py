"""Abilities of the processor, compared with lscpu's."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from sftplay.processor import cpu_has_bf16, processor_flags, processor_name


@pytest.fixture(scope="module")
def lscpu() -> dict[str, str]:
    if shutil.which("lscpu") is None:
        pytest.skip("lscpu is not installed")
    done = subprocess.run(["lscpu", "--json"], capture_output=True, text=True, check=True)
    found: dict[str, str] = {}
    waiting = json.loads(done.stdout)["lscpu"]
    while waiting:
        entry = waiting.pop()
        found[entry["field"].rstrip(":")] = entry.get("data") or ""
        waiting += entry.get("children", [])
    return found


def test_name_and_flags(lscpu: dict[str, str]) -> None:
    flags = set(lscpu["Flags"].split())
    assert processor_name() == lscpu["Model name"]
    assert set(processor_flags()) <= flags
    assert cpu_has_bf16() == bool(flags & {"avx512_bf16", "amx_bf16"})
