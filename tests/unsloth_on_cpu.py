"""The real Unsloth on a machine without a GPU: `python tests/unsloth_on_cpu.py STAGE …`, in the
Unsloth stack's environment.

Unsloth has a switch for its own tests that lets it be imported without a device
(UNSLOTH_ALLOW_CPU); Triton can interpret kernels on CPU tensors (TRITON_INTERPRET). What is left is
to answer for a device that is not there: its name, memory and capability. All of sftplay, Unsloth,
TRL, PEFT and transformers is real; only the probe is left out, since the device is a pretence.
Slow: 10 s a step.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from tests.cuda_on_cpu import Nowhere, send_to_cpu

VARIABLES = {
    "UNSLOTH_ALLOW_CPU": "1",
    "TRITON_INTERPRET": "1",
    "UNSLOTH_COMPILE_DISABLE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "UNSLOTH_DISABLE_PINNED_MEMORY": "1",
    "HF_HUB_OFFLINE": "1",
}
DEVICE = types.SimpleNamespace(
    name="none, pretended", total_memory=8 << 30, major=8, minor=0, multi_processor_count=8, gcnArchName="", warp_size=32,
    max_threads_per_multi_processor=2048, L2_cache_size=1 << 20, shared_memory_per_block=49152,
    shared_memory_per_block_optin=99000, regs_per_multiprocessor=65536,
)  # fmt: skip


def pretend() -> None:
    """Answer for the device, and import Unsloth."""
    os.environ.update(VARIABLES)
    import torch

    answers: dict[str, Any] = {
        "get_device_properties": DEVICE, "get_device_capability": (8, 0), "get_device_name": DEVICE.name,
        "mem_get_info": (4 << 30, 8 << 30), "current_device": 0, "memory_allocated": 0, "memory_reserved": 0,
        "max_memory_reserved": 0, "empty_cache": None, "synchronize": None, "_lazy_init": None,
    }  # fmt: skip
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *args, _answer=answer, **kwargs: _answer)
    torch.cuda.device = Nowhere  # type: ignore[misc, assignment]
    import unsloth.models.llama

    unsloth.models.llama.DEVICE_COUNT = 1
    send_to_cpu()


def main() -> int:
    """Run a stage with the pretended device."""
    pretend()
    import sftplay.model.train
    from sftplay.cli import main as stage
    from sftplay.model.unsloth.probe import Verdict

    sftplay.model.train.probe = lambda precision, log: Verdict(None, attention="not asked")  # type: ignore[assignment, misc]
    return stage(sys.argv[1:])


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
