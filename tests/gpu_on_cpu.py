"""Stages on a pretended GPU: `python tests/gpu_on_cpu.py EXECUTED CALLS`.

Every question to `torch.cuda` is answered as an H100 would, models say that they are on it, and what
is placed on `cuda` is placed on the CPU. All of sftplay, transformers, PEFT, TRL and accelerate is
real; kernels are not. CALLS: a JSON list of stages' arguments; their exit codes are printed. EXECUTED:
a file for the sites that ran (tests/cuda_sites.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

from tests.cuda_on_cpu import Nowhere, send_to_cpu

NAME = "NVIDIA H100, pretended"
GB = 1 << 30
_ROWS = 3  # that are evaluated


def answers() -> dict[str, Any]:
    """What `torch.cuda` is to answer."""
    import torch

    properties = types.SimpleNamespace(
        name=NAME, total_memory=80 * GB, major=9, minor=0, multi_processor_count=132
    )
    return {
        "is_available": True, "device_count": 1, "current_device": 0, "get_device_name": NAME,
        "get_device_capability": (9, 0), "get_device_properties": properties, "is_bf16_supported": True,
        "mem_get_info": (60 * GB, 80 * GB), "memory_allocated": GB, "max_memory_allocated": 2 * GB,
        "memory_reserved": 2 * GB, "max_memory_reserved": 2 * GB, "reset_peak_memory_stats": None, "empty_cache": None,
        "synchronize": None, "set_device": None, "_lazy_init": None, "is_initialized": True,
        "get_rng_state": torch.get_rng_state(), "set_rng_state": None, "get_rng_state_all": [], "set_rng_state_all": None,
        "manual_seed": None, "manual_seed_all": None, "get_arch_list": ["sm_90"], "is_current_stream_capturing": False,
    }  # fmt: skip


def pretend() -> None:
    """Answer for the device, and send to the CPU what is placed on it."""
    import torch

    for name, answer in answers().items():
        for place in (torch.cuda, torch.cuda.random):
            if hasattr(place, name):
                setattr(place, name, lambda *args, _answer=answer, **kwargs: _answer)
    torch._C._cuda_getCurrentRawStream = lambda device: 0  # type: ignore[attr-defined]
    torch.cuda.device = Nowhere  # type: ignore[misc, assignment]
    torch.Tensor.pin_memory = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    fork = torch.random.fork_rng  # the GPU's random numbers are the CPU's here
    torch.random.fork_rng = lambda devices=(), **more: fork(devices=[], **more)
    gpu = torch.device("cuda", 0)
    from transformers import PreTrainedModel

    PreTrainedModel.device = property(lambda self: gpu)  # type: ignore[assignment]
    send_to_cpu(numbers=True)


def _ask_directly(folder: Path) -> None:
    """Call what no stage of the test comes by."""
    import torch

    from sftplay.model import accept, libraries
    from sftplay.model.acceptance import backends, machine, speed
    from sftplay.model.acceptance.context import Context
    from sftplay.model.numerics.check import offered
    from sftplay.model.runtime import memory
    from sftplay.model.runtime.device import decide_device
    from sftplay.model.training.ending import explain
    from sftplay.model.unsloth import probe
    from sftplay.settings import Settings

    assert accept._opening("cuda", 10, "a model").machine == NAME
    assert libraries._cuda()["gpu"] == NAME
    assert offered("cuda") == ("fp32", "bf16", "fp16")
    assert type(explain(torch.cuda.OutOfMemoryError("…"), None)).__name__ == "OutOfMemoryError"
    assert memory.for_answers(torch.ones(1, requires_grad=False).device) > 0
    assert probe._remembered("bf16").name
    machine._SIZES["cuda"] = 64
    machine._product("cuda", {})
    with contextlib.suppress(Exception):  # the CPU's kernel has another name
        machine._attention("cuda", 64, False, {})
    machine._attention("cuda", 64, True, {})
    losses = [2.0, 1.0]
    stamp = {"backend": "bnb", "device": "cuda", "fallback": None}
    backends._judge({"effective": {"attention": "sdpa/flash"}}, losses, stamp, "bnb", "cuda")
    (folder / "model.json").write_text('{"weights": 1000}')
    assert speed._mfu(Context("cuda", folder / "out.json"), 5.0)["mfu"] > 0
    asked = Settings.model_validate({"train": {"device": "cuda"}})
    there, torch.cuda.is_available = torch.cuda.is_available, lambda: False
    try:
        decide_device(asked)
    except Exception as error:  # noqa: BLE001 - 69 is what is expected
        assert type(error).__name__ == "MachineError"
    torch.cuda.is_available = there


def _run_out_of_memory_once() -> None:
    """The first prompts of a batch of answers do not fit."""
    import torch

    from sftplay.model.answers.decoding import Batch

    right, tried = Batch.join, []

    def join(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not tried and len(args[0]) == _ROWS:  # the check of the decoder has two prompts
            tried.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return right(self, *args, **kwargs)

    Batch.join = join  # type: ignore[method-assign]


def main(executed_file: str, calls: str) -> None:
    """Run the stages, and note what they executed."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    pretend()
    from sftplay.cli import main as stage
    from tests.cuda_sites import Site, find_sites, watching

    executed: set[Site] = set()
    codes = []
    with watching(find_sites(), executed):
        _ask_directly(Path.cwd())
        for argv in json.loads(calls):
            if argv[0] == "eval":
                _run_out_of_memory_once()
            codes.append(stage(argv))
    found = sorted(f"{site.name}:{site.line}:{site.comparison}" for site in executed)
    Path(executed_file).write_text(json.dumps({"codes": codes, "sites": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
