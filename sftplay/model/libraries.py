"""`python -m sftplay.model.libraries`: what this environment can load. The check that an image
passes before it gets its name.

Prints one JSON object: versions, CUDA, the devices torch has code for, what was found and what was
not (`problems`).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sftplay import console
from sftplay.stages import STAGES

LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "tensorboard",
)
OF_EXPORT = ("torch", "transformers", "peft", "gguf", "sentencepiece", "xllamacpp")
_HEADER = "#include <Python.h>\nint answer(void) { return PY_MAJOR_VERSION; }\n"


def main() -> int:
    """Look, print what was found. Returns 0 where everything loads, else 69."""
    facts: dict[str, Any] = {"python": sys.version.split()[0]}
    problems: list[str] = []

    def attempt(what: str, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - whatever a library raises while it loads is what is looked for
            problems.append(f"{what}: {type(error).__name__}: {str(error)[:300]}")
            return None

    stack = os.environ.get("SFTPLAY_STACK")
    if stack == "unsloth":  # first: it patches the others
        facts["unsloth"] = attempt("unsloth", _import_unsloth)
    libraries = OF_EXPORT if stack == "export" else LIBRARIES
    facts["versions"] = {name: attempt(name, partial(_import, name)) for name in libraries}
    modules = [one.module for one in STAGES if stack != "export" or one.packages == stack]
    if stack == "export":
        facts["llama.cpp"] = attempt("llama.cpp's programs", _start_converter)
        modules += ["sftplay.model.exporting.write", "sftplay.model.answers.gguf"]
    for module in modules:
        attempt(module, partial(importlib.import_module, module))
    facts |= attempt("torch", _cuda) or {}
    if facts.get("cuda"):
        facts["bitsandbytes_library"] = attempt(
            "bitsandbytes for CUDA", partial(_load_bitsandbytes, facts["cuda"])
        )
        facts["compiler"] = attempt("C compiler (Triton needs it)", _compile)
    for problem in problems:
        console.error(problem)
    console.result(json.dumps({**facts, "problems": problems}))
    return 69 if problems else 0


def _import(name: str) -> str:
    importlib.import_module(name)
    return importlib.metadata.version(name)


def _import_unsloth() -> str:
    """Its version, or what it says where there is no GPU: that much of it works."""
    import torch

    try:
        return _import("unsloth")
    except NotImplementedError as error:
        if torch.cuda.is_available():
            raise
        return f"{importlib.metadata.version('unsloth')}: {error}"


def _start_converter() -> str:
    """Start each program of the export stack."""
    from sftplay.model.gguf.convert import find_converter

    return find_converter().check()


def _cuda() -> dict[str, Any]:
    import torch

    return {
        "cuda": torch.version.cuda,
        "built_for": (torch._C._cuda_getArchFlags() or "").split() if torch.version.cuda else [],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _load_bitsandbytes(cuda: str) -> str:
    """The library for torch's CUDA loads, also without a driver: what else it needs is there."""
    import bitsandbytes

    library = Path(str(bitsandbytes.__file__)).with_name(
        f"libbitsandbytes_cuda{cuda.replace('.', '')}.so"
    )
    ctypes.CDLL(str(library))
    return library.name


def _compile() -> str:
    """Compile and load a library with Python's headers, as Triton does for every kernel's launcher."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "answer.c", Path(folder) / "answer.so"
        source.write_text(_HEADER)
        include = sysconfig.get_paths()["include"]
        argv = ["cc", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(library)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(
                done.stderr.strip().splitlines()[-1]
                if done.stderr.strip()
                else f"cc ended with {done.returncode}"
            )
        assert ctypes.CDLL(str(library)).answer() == sys.version_info.major
    return "works"


if __name__ == "__main__":
    sys.exit(main())
