"""Precision: one choice, made where the run happens, with its reason, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sftplay.decision import Decision
from sftplay.errors import MachineError
from sftplay.numerics import failing_here, machine_name, precisions_failing
from sftplay.processor import cpu_has_bf16
from sftplay.settings import Settings
from sftplay.stamp import surroundings
from sftplay.tuning_method import choose_method

if TYPE_CHECKING:
    import torch

# By whether the processor has the instructions: what was measured, LoRA of SmolLM2-135M on GSM8K.
# AMX was not at hand.
_MEASURED = {
    True: "a LoRA step took half of fp32's time on an AMD EPYC with AVX512-BF16",
    False: "products in bf16 ran at a quarter of fp32's speed on a Xeon without it",
}
# SmolLM2-135M, 20 steps at 2e-5, three seeds: each pass rounds the weights to bf16, and small
# updates with them. An adapter is added before anything is rounded: 0.2 % (lora), 0.6 % (qlora).
_FULL = "training every weight in bf16 had 1.4 % more loss than in fp32"
_BF16_FROM = (8, 0)  # Ampere; older GPUs emulate bfloat16 at a fraction of fp16's speed


def decide_precision(settings: Settings, device: str) -> Decision[str]:
    """bf16, fp16 or fp32 for this device.

    Raises:
        MachineError: the device can't do what was asked for (69).
    """
    asked = settings.train.asked_precision
    if device == "cpu":
        full = settings.train.method == "full"
        return _not_failing(_on_cpu(asked, cpu_has_bf16(), full=full), settings, None)
    import torch

    name = torch.cuda.get_device_name()
    return _not_failing(_on_gpu(asked, torch.cuda.get_device_capability(), name), settings, name)


def _not_failing(chosen: Decision[str], settings: Settings, gpu: str | None) -> Decision[str]:
    """Pass over what `inv check --numerics` has found wrong on this machine, where the choice is
    sftplay's.
    """
    if settings.train.asked_precision != "auto":
        return chosen
    place = surroundings()
    rows = failing_here(
        str(place["stack"]), place["lock_hash"] or place["environment_hash"], machine_name(gpu)
    )
    failing = precisions_failing(
        rows,
        choose_method(settings, "cpu" if gpu is None else "cuda").value,
        dora=settings.lora.dora,
    )
    offered = (chosen.value, *(() if gpu is None else ("fp16",)), "fp32")
    better = next((name for name in offered if name not in failing), None)
    if better is None or better == chosen.value:
        return chosen
    return Decision(
        better, f"inv check --numerics found {chosen.value} wrong here: {failing[chosen.value]}"
    )


def _on_cpu(asked: str, has_bf16: bool, *, full: bool = False) -> Decision[str]:
    if asked == "fp16":
        raise MachineError(
            "fp16 training needs a GPU", todo="use --set train.precision=auto on the CPU"
        )
    if asked != "auto":
        return Decision(asked, "asked for")
    if has_bf16 and full:
        return Decision("fp32", _FULL)
    if has_bf16:
        return Decision("bf16", f"this processor multiplies bfloat16 natively: {_MEASURED[True]}")
    return Decision("fp32", f"this processor has no native bfloat16: {_MEASURED[False]}")


def _on_gpu(asked: str, capability: tuple[int, int], name: str) -> Decision[str]:
    shown = f"{name} has compute capability {capability[0]}.{capability[1]}"
    has_bf16 = capability >= _BF16_FROM
    if asked == "bf16" and not has_bf16:
        raise MachineError(
            f"no bf16 on this GPU: {shown}", todo="use --set train.precision=fp16, or auto"
        )
    if asked != "auto":
        return Decision(asked, "asked for")
    if has_bf16:
        return Decision("bf16", shown)
    return Decision("fp16", f"{shown}, which has no bf16")


def torch_dtype(precision: str) -> torch.dtype:
    """The torch dtype of a precision's name."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def autocast(device: str, precision: str, model: Any = None) -> torch.autocast:
    """Return the context that a training pass computes in.

    Args:
        model: which may compute in 16 bits by itself; None where that is not known.
    """
    import torch

    from sftplay.model.lean import needs_autocast

    mixed = precision != "fp32" and (model is None or needs_autocast(model))
    return torch.autocast(device, dtype=torch_dtype(precision), enabled=mixed)
