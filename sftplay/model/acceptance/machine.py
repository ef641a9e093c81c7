"""Step `machine`: device, driver, capability, torch, kernels."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from sftplay.model.acceptance.context import Context, NotAsExpected, Unusable
from sftplay.model.forward.attention import _Operators, name_of
from sftplay.model.libraries import _compile, _load_bitsandbytes

_SIZES = {"cpu": 256, "cuda": 4096}  # of a matrix
_LENGTHS = {"cpu": (64, 128), "cuda": (1024, 4096, 8192)}


def run(context: Context) -> None:
    """Look at what kernels this machine has, and time attention with and without a padding mask."""
    with context.row("matrix product") as values:
        _product(context.device, values)
    with context.row("NF4 there and back") as values:
        _nf4(context.device, values)
    with context.row("bitsandbytes' library for CUDA") as values:
        if torch.version.cuda is None:
            raise Unusable("this torch has no CUDA")
        values["library"] = _load_bitsandbytes(torch.version.cuda)
    with context.row("C compiler, for Triton") as values:
        if context.device == "cpu":
            raise Unusable("nothing is compiled for a CPU")
        if shutil.which("cc") is None:
            raise Unusable("no cc: Unsloth and compiled kernels need one")
        values["said"] = _compile()
    for name in ("triton", "flash_attn", "xformers", "liger_kernel"):
        with context.row(name) as values:
            if importlib.util.find_spec(name) is None:
                raise Unusable("not installed")
            if name == "xformers":
                raise NotAsExpected("installed: attention must not run through it")
    for length in _LENGTHS[context.device]:
        for padded in (False, True):
            with context.row(
                f"attention, {length} tokens{', padding mask' if padded else ''}"
            ) as values:
                _attention(context.device, length, padded, values)


def _product(device: str, values: dict[str, Any]) -> None:
    """Compare a product in 16 bits with the same in fp64, and time it."""
    size = _SIZES[device]
    kind = torch.bfloat16
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        kind = torch.float16
    torch.manual_seed(1)
    one, other = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    right = one[:64].double() @ other.double()
    apart = float(((one[:64] @ other).double() - right).norm() / right.norm())
    values.update({"dtype": str(kind).removeprefix("torch."), "size": size, "apart": apart})
    if apart > 0.01:
        raise NotAsExpected(f"{apart:.1%} away from the same product in fp64")
    seconds = _seconds(lambda: one @ other, device)
    values["tflops"] = 2 * size**3 / seconds / 1e12


def _nf4(device: str, values: dict[str, Any]) -> None:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    torch.manual_seed(2)
    weight = torch.randn(512, 512, device=device)
    packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    apart = float((dequantize_4bit(packed, state) - weight).norm() / weight.norm())
    values["apart"] = apart
    # a normal distribution in 16 levels: about 9 % (arXiv:2305.14314, section 3)
    if not 0.05 < apart < 0.15:
        raise NotAsExpected(f"{apart:.1%} away from the weights; about 9 % is expected")


def _attention(device: str, length: int, padded: bool, values: dict[str, Any]) -> None:
    kind = torch.bfloat16 if device == "cpu" or torch.cuda.is_bf16_supported() else torch.float16
    q, k, v = (
        torch.randn(2, 8, length, 64, device=device, dtype=kind, requires_grad=True)
        for _ in range(3)
    )
    mask = None
    if padded:
        mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]

    def step() -> None:
        scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None
        ).sum().backward()

    with _Operators() as seen:
        step()
    values["kernel"] = name_of(seen.names, "sdpa")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        base = torch.cuda.memory_allocated()
    values["milliseconds"] = 1000 * _seconds(step, device)
    if device == "cuda":
        values["mb"] = (torch.cuda.max_memory_allocated() - base) / 1e6
        if not padded and values["kernel"] not in ("sdpa/flash", "sdpa/cudnn"):
            raise NotAsExpected(f"{values['kernel']}: not on its fast path")


def _seconds(work: Any, device: str, turns: int = 10) -> float:
    """Seconds of one turn, after a first one that is not counted."""
    import time

    work()
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(turns):
        work()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / turns
