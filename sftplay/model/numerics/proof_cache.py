"""Proofs on this machine, kept in the cache: one file for each combination that a kernel depends
on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.content import code_hash
from sftplay.errors import SftplayError
from sftplay.files import hash_json, write_json
from sftplay.model.runtime.device import nvidia_driver
from sftplay.places import cache_folder
from sftplay.processor import processor_flags, processor_name
from sftplay.stamp import surroundings
from sftplay.untrusted import read_json

# Variables by which libraries choose kernels, by their beginnings.
_SWITCHES = (
    "ATEN_",
    "BNB_",
    "CUBLAS_",
    "DNNL_",
    "KMP_",
    "MKL_",
    "NVIDIA_TF32",
    "OMP_",
    "ONEDNN_",
    "TORCH_",
    "XFORMERS_",
)


def machine_facts(device: str) -> dict[str, Any]:
    """Return what a kernel's choice depends on: GPU with driver, or processor with its flags; and
    the switches that are set.
    """
    import torch

    switches = {
        name: value for name, value in sorted(os.environ.items()) if name.startswith(_SWITCHES)
    }
    if device == "cuda":
        return {
            "gpu": torch.cuda.get_device_name(),
            "capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "driver": nvidia_driver(),
            "switches": switches,
        }
    return {
        "processor": processor_name(),
        "flags": processor_flags(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "switches": switches,
    }


def place_for(facts: Mapping[str, Any], versions: Mapping[str, str], device: str) -> Path:
    """Return the file for a training of this kind on this machine, in this environment, by this
    code.
    """
    place = surroundings()
    key = {
        "facts": dict(facts),
        "where": machine_facts(device),
        "versions": dict(versions),
        "environment": place["image_digest"] or place["environment_hash"] or place["lock_hash"],
        "code": code_hash(),
    }
    return cache_folder() / "numerics" / f"{hash_json(key)[7:23]}.json"


def load_proof(path: Path) -> dict[str, Any] | None:
    """Return what was found before; None where nothing was, or the file is damaged."""
    try:
        found = read_json(path)
    except (SftplayError, OSError):
        return None
    return found if isinstance(found, dict) and found.get("proved") is True else None


def save_proof(path: Path, found: Mapping[str, Any]) -> None:
    """Write what was proved.

    A cache that can't be written (read-only in a container) only costs time.
    """
    try:
        write_json(path, dict(found))
    except (SftplayError, OSError) as problem:
        console.log(f"the numerics result is not remembered: {problem}")
