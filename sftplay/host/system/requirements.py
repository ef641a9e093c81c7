"""Requirements of stacks and runs. Figures that are not measured here name their source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

GB = 1000**3

# Bytes on disk: an image (its layers unpacked), and the same packages as an environment of the
# local runner.
IMAGE_SIZE: Mapping[str, int] = {
    "cpu": int(2.5 * GB),
    "bnb": int(7.5 * GB),
    "unsloth": int(8 * GB),
    "export": int(1.5 * GB),
}
ENVIRONMENT_SIZE: Mapping[str, int] = {
    "cpu": 2 * GB,
    "bnb": 7 * GB,
    "unsloth": int(7.5 * GB),
    "export": int(1.3 * GB),
}
RUN_SIZE = (
    2 * GB
)  # a small model with its data, two checkpoints, adapter and merged copy; `inv check` forecasts a real one
SHM = (
    64 << 20
)  # what a container gets unasked; data loaders and NCCL end with SIGBUS (135) below about that

# NVIDIA, CUDA Compatibility, "Minor Version Compatibility": the oldest driver branch for each major
# version of CUDA.
OLDEST_DRIVER: Mapping[int, int] = {11: 450, 12: 525, 13: 580}
# torch.cuda.get_arch_list() of PyPI's wheels; code for (8, 6) runs on (8, 9) as well, never on
# another major version.
BUILT_FOR: Mapping[tuple[int, int], tuple[tuple[int, int], ...]] = {
    (12, 6): ((5, 0), (6, 0), (7, 0), (7, 5), (8, 0), (8, 6), (9, 0)),
    (12, 8): ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0)),
    (13, 0): ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0)),
}
# Docker's reference of compose files: the first with `!reset`, which compose.cpu.yaml uses.
OLDEST_COMPOSE = (2, 24, 4)
_RUNTIME = re.compile(r"^nvidia-cuda-runtime(?:-cu\d+)?==(\d+)\.(\d+)", re.MULTILINE)


def cuda_of(lock: Path) -> tuple[int, int] | None:
    """The CUDA version that a lock brings along; None where it brings none, or where there is no
    such file.
    """
    found = _RUNTIME.search(lock.read_text(encoding="utf-8")) if lock.is_file() else None
    return (int(found[1]), int(found[2])) if found else None


def fits(capability: tuple[int, int], cuda: tuple[int, int]) -> bool | None:
    """Return whether torch of that CUDA version has code for a GPU; None if no list is known for
    it.
    """
    built = BUILT_FOR.get(cuda)
    return (
        None
        if built is None
        else any(capability[0] == major and capability[1] >= minor for major, minor in built)
    )
