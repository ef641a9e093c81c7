"""The libraries without their chatter, and without an import that costs more than it gives."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, TextIO

from sftplay import console


def quiet_libraries() -> None:
    """Silence what the libraries print about themselves; our own lines say what matters."""
    import logging
    import warnings

    from transformers.utils import logging as hf_logging

    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    for name in ("bitsandbytes", "trl", "peft", "accelerate", "torch.utils.checkpoint"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings(
        "ignore", category=UserWarning, module=r"(torch|transformers|peft|bitsandbytes|trl)\b.*"
    )
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"peft\b.*")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.showwarning = _log_warning
    console.log("library chatter is silenced")
    _import_bitsandbytes()


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Keep a library's warning in the log: on the screen its source line helps nobody."""
    console.log(f"{category.__name__}: {message} ({filename}:{lineno})")


def _import_bitsandbytes() -> None:
    """Import bitsandbytes without its compiler if torch has no CUDA: that is an eighth of all
    import time of a training start.

    bitsandbytes compiles its fallback kernels while it is imported, and takes them uncompiled where
    that fails; on the CPU it has kernels in C++ and uses none of those. PEFT imports it whether it
    is needed or not.
    """
    import torch

    if torch.version.cuda is not None or importlib.util.find_spec("bitsandbytes") is None:
        return
    compiler = torch.compile
    torch.compile = _no_compiler
    try:
        importlib.import_module("bitsandbytes")
    finally:
        torch.compile = compiler


def _no_compiler(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("not while bitsandbytes is imported")
