"""Failures of the backend itself, as a table: exception type, text and traceback decide the class
of a hand-over, or that there is none.

The texts are those of the pinned Unsloth (2026.10) and of what it stands on;
tests/model/unsloth/test_failures.py holds one for each row.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from sftplay.errors import SftplayError, StoppedError
from sftplay.handover import Reason

# Packages that only the Unsloth stack trains through: a failure inside them says nothing about the
# BnB stack.
STACK = (
    "unsloth", "unsloth_zoo", "unsloth_compiled_cache", "unsloth_compiled_module", "xformers", "triton", "cut_cross_entropy",
)  # fmt: skip
COMPILER = ("torch._inductor", "torch._dynamo", "torch._functorch")


@dataclass(frozen=True)
class Failure:
    """An exception as plain values, so that it can come from another process.

    Attributes:
        types: names of the exception's class and its bases, `module.Name`, the class itself first.
        message: str(exception).
        modules: modules of the traceback's frames, outermost first, of the exception and then of
            its causes.
        errno: of an OSError from the operating system.
    """

    types: tuple[str, ...]
    message: str
    modules: tuple[str, ...] = ()
    errno: int | None = None

    @property
    def name(self) -> str:
        return self.types[0]

    @property
    def below_us(self) -> tuple[str, ...]:
        """Modules that were entered after our own code was left for the last time."""
        ours = [i for i, module in enumerate(self.modules) if _is_in(module, ("sftplay",))]
        return self.modules[ours[-1] + 1 :] if ours else self.modules


@dataclass(frozen=True)
class FailureRule:
    """A class of failures: every condition that is given has to hold.

    Attributes:
        reason: a hand-over's reason, or None: never handed over.
        types: one of these class names among the exception's own and its bases'.
        text: found in its message, in any case of letters.
        inside: one of these packages was entered after our own code.
    """

    reason: Reason | None
    types: tuple[str, ...] = ()
    text: str = ""
    inside: tuple[str, ...] = ()

    def fits(self, failure: Failure) -> bool:
        return (
            (not self.types or any(name.rpartition(".")[2] in self.types for name in failure.types))
            and (
                not self.text
                or re.search(self.text, failure.message, re.IGNORECASE | re.DOTALL) is not None
            )
            and (not self.inside or any(_is_in(module, self.inside) for module in failure.below_us))
        )


# The first row that fits decides. What BnB would meet as well stands first.
TABLE: tuple[FailureRule, ...] = (
    # memory: BnB needs more of it, not less
    FailureRule(None, types=("OutOfMemoryError", "MemoryError")),
    FailureRule(None, text=r"CUDA out of memory|CUDA error: out of memory|HIP out of memory|does not fit in GPU memory"),
    FailureRule(None, text=r"not enough memory: you tried to allocate|cannot allocate memory"),
    # signals and exits
    FailureRule(None, types=("KeyboardInterrupt", "SystemExit", "GeneratorExit")),
    # disk, permission, network, hub
    FailureRule(None, types=("PermissionError", "FileNotFoundError", "ConnectionError", "TimeoutError", "IsADirectoryError", "SafetensorError")),
    FailureRule(None, types=("HfHubHTTPError", "GatedRepoError", "RepositoryNotFoundError", "LocalEntryNotFoundError", "OfflineModeIsEnabled")),
    FailureRule(None, types=("HTTPError", "RequestException", "TransportError")),
    FailureRule(None, text=r"No space left on device|Read-only file system|Input/output error|couldn't connect to|Can't load (the )?(configuration|tokenizer|model)"),
    # data, settings, and hardware that is broken for everybody
    FailureRule(None, text=r"device-side assert triggered|uncorrectable ECC|fallen off the bus|all CUDA-capable devices are busy"),
    FailureRule(None, text=r"(loss|gradient).{0,40}(\bnan\b|\binf\b|not finite)|All labels in your dataset are -100"),
    FailureRule(None, types=("ValidationError",)),
    # the machine has no GPU, or torch does not see it
    FailureRule("no_gpu", text=r"cannot find any torch accelerator\? You need a GPU|only works on NVIDIA, AMD and Intel GPUs|does not currently work on (this device|\w+)\."),
    FailureRule("no_gpu", text=r"nvidia-smi sees .* but torch\.cuda\.is_available\(\) is False"),
    FailureRule("no_gpu", text=r"Found no NVIDIA driver on your system|No CUDA GPUs are available|no CUDA-capable device is detected"),
    # this GPU is not one of those that the kernels were built for
    FailureRule("gpu_arch", text=r"no kernel image is available for execution on the device|CUDA error: invalid device function"),
    FailureRule("gpu_arch", text=r"ptxas fatal\s*: Value 'sm_\w+' is not defined|unsupported (gpu|sm) arch|is not compatible with the current PyTorch installation"),
    FailureRule("gpu_arch", text=r"Unsloth: .*(requires|only supported on) .*(compute capability|H100|L4|GPUs)"),
    # the model
    FailureRule("unsupported_model", text=r"is not supported yet in `transformers=="),
    FailureRule("unsupported_model", text=r"Unsloth: .* only works on transformers"),
    FailureRule("unsupported_model", text=r"Unsloth: (Your transformers version of \S+ does not support|this \w+ checkpoint sets)"),
    FailureRule("unsupported_model", text=r"doesn't support RoPE Scaling|Unsloth: Failed to load model\. Both AutoConfig and PeftConfig"),
    FailureRule("unsupported_model", text=r"Unsloth: Unsuccessfully patched|Unsloth: Your repo has a LoRA adapter and a base model"),
    FailureRule("unsupported_model", types=("KeyError",), text=r"Config'?>?", inside=("unsloth",)),
    # the adapter
    FailureRule("no_layers", text=r"Unsloth: No (layers|modules) to finetune|Unsloth: Model has 0 layers"),
    FailureRule("no_layers", text=r"Unsloth: Module = .* is not allowed"),
    # kernels
    FailureRule("kernel", text=r"No operator found for `?memory_efficient_attention"),
    FailureRule("kernel", types=("CompilationError", "OutOfResources", "PTXASError", "TritonError", "InductorError", "BackendCompilerFailed", "Unsupported")),
    FailureRule("kernel", text=r"Failed to find C compiler|out of resource: |Triton Error \[CUDA\]|PassManager::run failed"),
    FailureRule("kernel", text=r"CUDA error: (an illegal memory access|misaligned address|unspecified launch failure|illegal instruction)"),
    FailureRule("kernel", types=("NotImplementedError",), inside=("xformers", "triton", "unsloth.kernels", "unsloth.utils")),
    # a library that is missing, or does not fit
    FailureRule("import", types=("ImportError", "ModuleNotFoundError")),
    FailureRule("import", types=("OSError",), text=r"\.so[.\d]*: |cannot open shared object file|undefined symbol"),
    FailureRule("import", types=("AttributeError", "RuntimeError", "NotImplementedError"), text=r"operator .* does not exist|has no attribute", inside=("unsloth", "unsloth_zoo")),
    # other words of the operating system, then whatever happened inside the stack's own packages
    FailureRule(None, types=("OSError",)),
    FailureRule("unknown", inside=(*STACK, *COMPILER)),
)  # fmt: skip


def classify(failure: Failure) -> Reason | None:
    """The reason of a hand-over; None where the other backend would fail as well, or where the
    fault is ours.
    """
    if failure.errno is not None:
        return None
    return next((row.reason for row in TABLE if row.fits(failure)), None)


def describe(error: BaseException) -> Failure:
    """An exception as plain values.

    Our own expected failures are named as such and never classified.
    """
    kinds = [
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in type(error).__mro__
        if kind is not object
    ]
    return Failure(
        types=tuple(kinds),
        message=str(error)[:16_384],
        modules=tuple(_modules(error)),
        errno=getattr(error, "errno", None) if isinstance(error, OSError) else None,
    )


def reason_of(error: BaseException) -> Reason | None:
    """`classify` for an exception of this process; an expected failure (a SftplayError) never hands
    over.
    """
    return None if isinstance(error, (SftplayError, StoppedError)) else classify(describe(error))


def _modules(error: BaseException) -> list[str]:
    """Of every frame, the innermost exception's last: a wrapper that re-raises does not hide where
    it began.
    """
    found: list[str] = []
    seen: set[int] = set()
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        chain.append(current)
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    for link in chain:
        found += [
            str(frame.f_globals.get("__name__", "?"))
            for frame, _ in traceback.walk_tb(link.__traceback__)
        ]
    return found


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
