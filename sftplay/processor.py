"""Abilities of the processor, by the kernel's list of its flags."""

from __future__ import annotations

# Instruction sets by which torch, oneDNN, MKL and bitsandbytes choose their kernels.
_CHOOSING = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "amx_tile",
)


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(processor_flags())


def processor_flags() -> list[str]:
    """Return the instruction sets of this processor by which libraries choose kernels."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "").split()
    except OSError:
        return []
    return [name for name in _CHOOSING if name in flags]


def processor_name() -> str:
    """The processor's own name; what sums come out as depends on it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            named = next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        named = ""
    return named.partition(":")[2].strip() or "unknown"
