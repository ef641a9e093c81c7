"""Failures that hand over: the true texts of the pinned Unsloth and of its dependencies, one for
each row of the table.
"""

from __future__ import annotations

import errno
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from sftplay.errors import ConfigError, DataError, NonFiniteError, RefusedError, StoppedError
from sftplay.handover import REASONS
from sftplay.model.unsloth.failures import TABLE, Failure, classify, describe, reason_of

UNSLOTH = ("sftplay.model.train", "unsloth.models.loader")


def failure(name: str, message: str, modules: tuple[str, ...] = UNSLOTH, *bases: str) -> Failure:
    return Failure((name, *bases), message, modules)


# name of the class, message as Unsloth 2026.10.7 (or torch, Triton, xFormers) writes it, reason
SEEN: tuple[tuple[str, str, str], ...] = (
    ("builtins.NotImplementedError", "Unsloth cannot find any torch accelerator? You need a GPU.", "no_gpu"),
    ("builtins.NotImplementedError", "Unsloth currently only works on NVIDIA, AMD and Intel GPUs.", "no_gpu"),
    ("builtins.NotImplementedError", "Unsloth does not currently work on mps.", "no_gpu"),
    ("builtins.NotImplementedError", "Unsloth does not currently work on this device.", "no_gpu"),
    ("builtins.NotImplementedError", "Unsloth: nvidia-smi sees NVIDIA A100 but torch.cuda.is_available() is False (torch 2.13.0+cpu). PyTorch likely does not match", "no_gpu"),
    ("builtins.RuntimeError", "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver", "no_gpu"),
    ("builtins.RuntimeError", "No CUDA GPUs are available", "no_gpu"),
    ("torch.AcceleratorError", "CUDA error: no kernel image is available for execution on the device", "gpu_arch"),
    ("builtins.RuntimeError", "CUDA error: invalid device function", "gpu_arch"),
    ("triton.runtime.errors.PTXASError", "PTXAS error: Internal Triton PTX codegen error\nptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'", "gpu_arch"),
    ("builtins.ValueError", "Unsloth: FP8 quantization is only supported on L4 and higher GPUs with compute capability 8.9 or higher. You are using Tesla T4.", "gpu_arch"),
    ("builtins.ValueError", "`m` is not supported yet in `transformers==5.17.0`.\nPlease update transformers via `pip install --upgrade transformers`", "unsupported_model"),
    ("builtins.RuntimeError", "Unsloth: OLMo-3 only works on transformers >= 4.57.0.", "unsupported_model"),
    ("builtins.ImportError", "Unsloth: Your transformers version of 5.17.0 does not support Qwen3.5.\nThe minimum required version is 5.2.0.", "unsupported_model"),
    ("builtins.RuntimeError", "Unsloth: this exaone_moe checkpoint sets swiglu_limits, which the installed transformers 5.17.0 ignores", "unsupported_model"),
    ("builtins.RuntimeError", "However, m doesn't support RoPE Scaling!\nPlease file a feature request at https://github.com/unslothai/unsloth.", "unsupported_model"),
    ("builtins.RuntimeError", "Unsloth: Failed to load model. Both AutoConfig and PeftConfig loading failed.\n\nAutoConfig error: x", "unsupported_model"),
    ("builtins.RuntimeError", "Unsloth: Unsuccessfully patched inner_training_loop", "unsupported_model"),
    ("builtins.RuntimeError", "Unsloth: Your repo has a LoRA adapter and a base model.\nYou have 2 files", "unsupported_model"),
    ("builtins.KeyError", "<class 'transformers.models.zamba.configuration_zamba.ZambaConfig'>", "unsupported_model"),
    ("builtins.RuntimeError", "Unsloth: No layers to finetune? You most likely specified target_modules = ['x'] incorrectly!", "no_layers"),
    ("builtins.RuntimeError", "Unsloth: No modules to finetune - please select to finetune the attention and/or the mlp modules!", "no_layers"),
    ("builtins.RuntimeError", "Unsloth: Model has 0 layers?", "no_layers"),
    ("builtins.TypeError", "Unsloth: Module = conv1 is not allowed. Only 'lm_head', 'embed_tokens' and normalization layers", "no_layers"),
    ("builtins.NotImplementedError", "No operator found for `memory_efficient_attention_forward` with inputs:\n query : shape=(1, 8, 1, 64)", "kernel"),
    ("triton.compiler.errors.CompilationError", "at 12:4:\n    x = tl.load(X)", "kernel"),
    ("triton.runtime.errors.OutOfResources", "out of resource: shared memory, Required: 98304, Hardware limit: 65536.", "kernel"),
    ("builtins.RuntimeError", "Failed to find C compiler. Please specify via CC environment variable or set triton.knobs.build.impl.", "kernel"),
    ("torch._inductor.exc.InductorError", "RuntimeError: PassManager::run failed", "kernel"),
    ("torch.AcceleratorError", "CUDA error: an illegal memory access was encountered", "kernel"),
    ("builtins.ImportError", "Unsloth: Please install unsloth_zoo via `pip install unsloth_zoo` then retry!", "import"),
    ("builtins.ModuleNotFoundError", "No module named 'triton.backends'", "import"),
    ("builtins.ImportError", "libcudart.so.13: cannot open shared object file: No such file or directory", "import"),
    ("builtins.OSError", "libnvrtc.so.13: undefined symbol: nvrtcGetCUBIN", "import"),
    ("builtins.AttributeError", "module 'transformers' has no attribute 'PreTrainedConfig'", "import"),
    ("builtins.RuntimeError", "operator torchvision::nms does not exist", "import"),
    ("builtins.AssertionError", "assert n_kv_heads * n_groups == n_heads", "unknown"),
    ("builtins.IndexError", "list index out of range", "unknown"),
)  # fmt: skip

NEVER: tuple[tuple[str, str], ...] = (
    ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"),
    ("builtins.RuntimeError", "CUDA error: out of memory"),
    ("builtins.RuntimeError", "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ("builtins.ValueError", "Unsloth: m does not fit in GPU memory (2 GB free), so transformers placed part of it on the CPU"),
    ("builtins.MemoryError", ""),
    ("builtins.KeyboardInterrupt", ""),
    ("builtins.SystemExit", "1"),
    ("builtins.PermissionError", "[Errno 13] Permission denied: 'x'"),
    ("builtins.FileNotFoundError", "[Errno 2] No such file or directory: 'x'"),
    ("builtins.OSError", "[Errno 28] No space left on device"),
    ("builtins.RuntimeError", "PytorchStreamWriter failed writing file data/0: No space left on device"),
    ("builtins.OSError", "Can't load the configuration of 'm'. If you were trying to load it from 'https://huggingface.co/models'"),
    ("builtins.OSError", "We couldn't connect to 'https://huggingface.co' to load the files"),
    ("builtins.OSError", "Read-only file system"),
    ("huggingface_hub.errors.GatedRepoError", "401 Client Error. Access to model m is restricted."),
    ("huggingface_hub.errors.OfflineModeIsEnabled", "Cannot reach https://huggingface.co: offline mode is enabled."),
    ("huggingface_hub.errors.HfHubHTTPError", "500 Server Error"),
    ("httpx.TransportError", "handshake failed"),
    ("requests.exceptions.ConnectionError", "HTTPSConnectionPool(host='huggingface.co', port=443)"),
    ("torch.AcceleratorError", "CUDA error: device-side assert triggered"),
    ("torch.AcceleratorError", "CUDA error: uncorrectable ECC error encountered"),
    ("builtins.RuntimeError", "CUDA error: all CUDA-capable devices are busy or unavailable"),
    ("builtins.ValueError", "Unsloth: All labels in your dataset are -100. Training losses will be all 0."),
    ("builtins.RuntimeError", "the gradient norm is nan"),
    ("safetensors.SafetensorError", "Error while deserializing header: incomplete metadata"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "message", "reason"), SEEN)
def test_each_text_has_its_reason(name: str, message: str, reason: str) -> None:
    assert classify(failure(name, message)) == reason


@pytest.mark.parametrize(("name", "message"), NEVER)
def test_what_bnb_would_meet_as_well_never_hands_over(name: str, message: str) -> None:
    assert classify(failure(name, message)) is None


def test_every_row_of_the_table_is_met_by_a_text() -> None:
    given = [failure(name, message) for name, message, *_ in (*SEEN, *NEVER)]
    given.append(
        failure(
            "builtins.NotImplementedError",
            "not on this head size",
            ("sftplay.x", "xformers.ops.fmha"),
        )
    )
    given.append(failure("pydantic_core.ValidationError", "1 validation error"))
    given.append(failure("builtins.OSError", "something else"))
    first = {id(next(row for row in TABLE if row.fits(one))) for one in given}
    assert [row for row in TABLE if id(row) not in first] == []


def test_every_reason_but_a_crash_comes_from_the_table() -> None:
    assert {row.reason for row in TABLE if row.reason} | {"crash"} == set(REASONS)


def test_an_operating_system_error_never_hands_over() -> None:
    assert (
        classify(Failure(("builtins.OSError",), "libcuda.so.1: broken", UNSLOTH, errno=errno.EIO))
        is None
    )


def test_a_traceback_that_ends_in_our_own_code_is_our_bug() -> None:
    assert (
        classify(
            failure(
                "builtins.IndexError",
                "x",
                ("sftplay.model.train", "unsloth.trainer", "sftplay.model.forward.loss"),
            )
        )
        is None
    )
    ours = (
        "sftplay.model.train",
        "unsloth.trainer",
        "sftplay.model.forward.loss",
        "torch.nn.functional",
    )
    assert (
        classify(failure("builtins.ValueError", "Expected input batch_size to match target", ours))
        is None
    )
    assert (
        classify(
            failure("builtins.IndexError", "x", ("sftplay.model.train", "transformers.trainer"))
        )
        is None
    )
    assert (
        classify(
            failure(
                "builtins.IndexError",
                "x",
                ("sftplay.model.forward.loss", "unsloth.models.llama", "torch.nn"),
            )
        )
        == "unknown"
    )
    assert (
        classify(
            failure(
                "builtins.ValueError",
                "x",
                ("sftplay.model.forward.loss", "torch._inductor.compile_fx"),
            )
        )
        == "unknown"
    )


def _inside(module: str, code: str) -> Callable[[], Any]:
    """A function that lies in a module of that name, as a library's would."""
    fake = types.ModuleType(module)
    exec(code, fake.__dict__)
    return fake.__dict__["work"]  # type: ignore[no-any-return]


def test_a_real_traceback_is_read_by_its_frames() -> None:
    boom = _inside(
        "unsloth.models.llama", "def work():\n    raise IndexError('list index out of range')"
    )
    with pytest.raises(IndexError) as caught:
        boom()
    found = describe(caught.value)
    assert (
        found.types[:2] == ("builtins.IndexError", "builtins.LookupError")
        and "unsloth.models.llama" in found.modules
    )
    assert reason_of(caught.value) == "unknown"
    with pytest.raises(ValueError) as plain:
        "".index("x")
    assert reason_of(plain.value) is None


def test_a_wrapper_does_not_hide_where_it_began() -> None:
    inner = _inside(
        "triton.compiler.code_generator",
        "def work():\n    raise NotImplementedError('bf16 on this target')",
    )
    with pytest.raises(RuntimeError) as caught:
        try:
            inner()
        except NotImplementedError as error:
            raise RuntimeError("a step failed") from error
    assert reason_of(caught.value) == "unknown"


@pytest.mark.parametrize(
    "error",
    [ConfigError("x"), DataError("x"), RefusedError("x"), NonFiniteError("Unsloth: No layers to finetune"), StoppedError("x")],
)  # fmt: skip
def test_our_own_failures_never_hand_over(error: BaseException) -> None:
    assert reason_of(error) is None


def test_a_cycle_of_causes_ends() -> None:
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert describe(one).message == "one"
    assert sys.getrecursionlimit() > 100
